"""Answers handed back to the harness: its filters, its process_results, its aggregations and standard errors."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from raybench.core.outputs import Generation, Likelihoods, TextLikelihood
from raybench.core.types import Prediction
from raybench.tasks.harness.construct import reconstruct
from raybench.tasks.harness.door import quietly
from raybench.tasks.harness.library import HarnessTask

_RIGHT_OR_WRONG = re.compile(r"(.*_)?(acc|em|exact_match)(_.*)?|pass@\d+")


class Unscorable(Exception):
    """The task's own code failed; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One document with its answers."""

    sample_id: str
    document: Mapping[str, Any]
    arguments: Sequence[tuple[Any, ...]]
    """What was asked, an entry an instance of the harness; for its sample files."""
    predictions: Sequence[Prediction]
    """In (request, repeat) order, none of them an error; empty where the sample has no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What one document came to under one filter."""

    sample_id: str
    filter: str
    metrics: Mapping[str, Any]
    """Metric to what the harness makes of this document: a number, or what its aggregation wants."""
    filtered: Sequence[Any]
    """The answers after the filter, one an instance."""
    logged: Mapping[str, Any]
    """A line of the harness's sample file."""


class HarnessScorer:
    """Scores one task of one model. Documents stream where all filters look at one document at a time, otherwise they wait for the last one."""

    def __init__(self, task: HarnessTask, name: str, first: Mapping[str, Any], *, num_documents: int, shots: int, repeats: int) -> None:
        """Make the harness's task without its data.

        Args:
            task: Which one.
            name: In results and files.
            first: The first document that was asked.
            num_documents: Of the whole split.
            shots: As when it was asked.
            repeats: Answers that the harness wants of each request; where one was asked for, it counts that often.
        """
        self._made = reconstruct(task, first, num_documents, shots=shots)
        self._made.set_config(key="repeats", value=repeats)
        self._made.set_config(key="task", value=name)
        self._name = name
        self._repeats = repeats
        self._streams = all(_looks_at_one_document(part) for ensemble in self._made._filters for part in ensemble.filters)
        self._waiting: list[Answered] = []
        self._values: dict[tuple[str, str], list[Any]] = defaultdict(list)
        self._hashes: dict[str, list[str]] = defaultdict(list)

    def add(self, answered: Sequence[Answered]) -> list[list[Worth]]:
        """Take in some documents, in dataset order.

        Returns:
            What each document whose turn it was came to, an entry a filter; an empty list for one without an answer.
        """
        if not self._streams:
            self._waiting += answered
            return []
        return self._score(answered)

    def finish(self) -> list[list[Worth]]:
        """What the documents that had to wait came to."""
        waiting, self._waiting = self._waiting, []
        return self._score(waiting)

    def metric_names(self) -> list[str]:
        """Names that the task declares, for when there is nothing to score."""
        return list(self._made.aggregation()) or ["score"]

    def collect(self, *, draws: int) -> Any:
        """Values and standard errors in the harness's own container (evaluator_utils.EvalAcc).

        Args:
            draws: Of its bootstrap; 0: no standard errors.
        """
        from lm_eval.evaluator_utils import _collect_results

        accumulated = {self._name: {"task": self._made, "raw_metrics": self._values, "logged_samples": []}}
        try:
            with quietly(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # a progress bar for every bootstrap
                return _collect_results(accumulated, {}, draws)
        except Exception as error:  # an aggregation may be the task's own code
            raise Unscorable(f"lm-evaluation-harness cannot aggregate its values: {type(error).__name__}: {error}") from error

    def is_mean(self, metric: str) -> bool:
        """Whether its value is the mean over documents, and its standard error that of a mean."""
        from lm_eval.api.metrics import mean

        return self._made.aggregation().get(metric) is mean

    def num_values(self, metric: str, filter: str) -> int:
        """Documents that a metric stands on."""
        return len(self._values.get((metric, filter), ()))

    @property
    def name(self) -> str:
        """In results and files."""
        return self._name

    @property
    def task_hash(self) -> str:
        """Of all documents, prompts and targets (lm_eval loggers/evaluation_tracker.py, save_results_aggregated)."""
        return _sha256("".join(text for hashes in self._hashes.values() for text in hashes))

    def _score(self, answered: Sequence[Answered]) -> list[list[Worth]]:
        """As lm_eval evaluator.py, evaluate, after the model has answered."""
        asked = [(a, self._instances(a)) for a in answered]
        instances = [i for _, found in asked for i in found]
        worths: list[list[Worth]] = []
        with quietly():
            for ensemble in self._made._filters if instances else []:
                self._filter(ensemble, instances)
            for a, found in asked:
                worths.append([self._worth(a, found, ensemble.name) for ensemble in self._made._filters] if found else [])
        return worths

    def _filter(self, ensemble: Any, instances: Sequence[Any]) -> None:
        try:
            ensemble.apply(instances)
        except Exception as error:  # a filter may be the task's own code
            raise Unscorable(f"filter '{ensemble.name}' of lm-evaluation-harness failed: {type(error).__name__}: {error}") from error

    def _instances(self, answered: Answered) -> list[Any]:
        from lm_eval.api.instance import Instance

        responses = _responses(answered.predictions)
        return [
            Instance(
                request_type=self._made.OUTPUT_TYPE,
                doc=deepcopy(dict(answered.document)),
                arguments=(),
                idx=index,
                metadata=(self._name, index, self._repeats),
                resps=given * (self._repeats // len(given)),
            )
            for index, given in enumerate(responses)
        ]

    def _worth(self, answered: Answered, instances: Sequence[Any], filter: str) -> Worth:
        document = deepcopy(dict(answered.document))  # its code may change it
        filtered = [i.filtered_resps[filter] for i in instances]
        try:
            metrics = self._made.process_results(document, filtered)
            target = self._made.doc_to_target(deepcopy(dict(answered.document)))
        except Exception as error:  # the task's own code may raise anything
            raise Unscorable(
                f"sample '{answered.sample_id}': lm-evaluation-harness cannot score it: {type(error).__name__}: {error}"
            ) from error
        for metric, value in metrics.items():
            self._values[(metric, filter)].append(value)
        hashes = {
            "doc_hash": _sha256(json.dumps(answered.document, indent=2, ensure_ascii=False)),
            "prompt_hash": _sha256(str(answered.arguments[0][0])),
            "target_hash": _sha256(str(target)),
        }
        self._hashes[filter].append("".join(hashes.values()))
        logged = {
            "doc_id": int(answered.sample_id.rpartition("-")[2]),
            "doc": answered.document,
            "target": str(target),
            "arguments": {f"gen_args_{i}": {f"arg_{j}": a for j, a in enumerate(args)} for i, args in enumerate(answered.arguments)},
            "resps": [i.resps for i in instances],
            "filtered_resps": filtered,
            "filter": filter,
            "metrics": list(metrics),
            **hashes,
            **metrics,
        }
        return Worth(sample_id=answered.sample_id, filter=filter, metrics=metrics, filtered=filtered, logged=logged)


def is_right_or_wrong(metric: str) -> bool:
    """Whether a metric of the harness is between 0, wrong, and 1, right, for every document: it declares no range, so its name decides."""
    return _RIGHT_OR_WRONG.fullmatch(metric) is not None


def merged(collected: Sequence[Any]) -> Any:
    """One container of the harness for all tasks of a model."""
    from lm_eval.evaluator_utils import EvalAcc

    whole = EvalAcc()
    for part in collected:
        for name in ("metrics", "configs", "versions", "num_fewshot", "higher_is_better", "n_samples"):
            getattr(whole, name).update(getattr(part, name))
    return whole


def aggregate(collected: Any, groups: Sequence[Any]) -> None:
    """Let the harness compute the values of groups, the inner ones first, from those of their tasks."""
    from lm_eval.evaluator_utils import aggregate_groups

    collected.groups = {group.name: group for group in groups}
    with quietly():
        aggregate_groups(collected)


def _responses(predictions: Sequence[Prediction]) -> list[list[Any]]:
    """The answers as the harness's models give them: by instance, and for each the repeats."""
    by_request: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_request.setdefault(prediction.request, []).append(prediction)
    found: list[list[Any]] = []
    for repeats in by_request.values():
        outputs = [p.output for p in repeats]
        likelihoods = [o for o in outputs if isinstance(o, Likelihoods)]
        if likelihoods:
            found += [[(o.logprobs[i], o.is_greedy[i]) for o in likelihoods] for i in range(len(likelihoods[0].logprobs))]
        else:
            found.append(
                [o.text if isinstance(o, Generation) else o.logprob for o in outputs if isinstance(o, Generation | TextLikelihood)]
            )
    return found


def _looks_at_one_document(part: Any) -> bool:
    """Whether a step of a filter is one of the harness's own, which all go from document to document; `custom` may be anything."""
    step = getattr(part, "func", part)
    return str(getattr(step, "__module__", "")).startswith("lm_eval.filters.") and step.__name__ != "CustomFilter"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
