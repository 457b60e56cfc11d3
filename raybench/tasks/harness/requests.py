"""What the harness asks, built by its own code at world size 1 and streamed shard by shard as requests of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

import pyarrow as pa

from raybench.core.errors import ConfigError, DataError, RaybenchError
from raybench.core.fingerprint import digest
from raybench.core.sample_rows import samples_to_batch
from raybench.core.schema import REQUESTS, SHOTS
from raybench.core.task_config import DataConfig
from raybench.core.types import OPTION, Kind, Sample, Sampling
from raybench.core.version import VERSION
from raybench.tasks.harness.construct import construct
from raybench.tasks.harness.door import quietly, seeded, version
from raybench.tasks.harness.generation import sampling_of
from raybench.tasks.harness.library import KINDS, HarnessTask, describe
from raybench.tasks.prompts import GENERATE_SHARD_SIZE, SHARD_SIZE, RenderedShard

_MARK = "\x00conversation:"
"""Begins what stands for a conversation while the harness builds requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """How a model is talked to; without one, prompts are plain text."""

    fewshot_as_multiturn: bool
    system_prompt: str | None


class _Conversation(str):
    """Stands for the prompt that the chat template will make of messages; the actor that has the template renders them."""

    messages: list[dict[str, str]]


@dataclass(kw_only=True)
class HarnessRendering:
    """As tasks.prompts.Rendering: names at once, tables when they are asked for. Holds the harness's task until its shards have been made."""

    task: HarnessTask
    kind: Kind
    chat: Chat | None
    num_shots: int
    sampler: str = "lm-eval"
    seed: int
    limit: int | None
    shard_size: int
    data: str
    key: str
    sampling: Sampling | None
    num_documents: int
    """Of the whole split."""
    made: Any = field(repr=False)
    """The harness's task."""

    @property
    def shots(self) -> pa.RecordBatch:
        """No examples: they stand in the prompts as the harness wrote them."""
        return pa.RecordBatch.from_pylist([], schema=SHOTS)

    def shards(self) -> Iterator[RenderedShard]:
        """Build shard by shard, in dataset order.

        Raises:
            DataError: when the harness cannot ask about a document, or it cannot be asked here.
        """
        self.made.set_fewshot_seed(seed=self.seed)
        documents = self.made.doc_iterator(limit=self.limit, rank=0, world_size=1)
        start = 0
        with seeded():
            while chunk := list(islice(documents, self.shard_size)):
                samples, rows = [], []
                with quietly():
                    for number, document in chunk:
                        sample = self._sample(number, document)
                        samples.append(sample)
                        rows += list(self._rows(sample.id, number, document))
                yield self._shard(start, samples, rows)
                start += len(chunk)
        if start == 0:
            raise DataError(f"task '{self.task.name}': its split '{self.task.source.split}' has 0 documents. Expected at least one.")

    def _sample(self, number: int, document: Any) -> Sample:
        name = f"{self.task.source.split}-{number}"  # of the document: none comes twice
        if not isinstance(document, Mapping) or json.loads(json.dumps(document, default=str)) != document:
            raise DataError(
                f"task '{self.task.name}', sample '{name}': a document is scored as it was stored, and this one cannot be stored as JSON: "
                f"{str(document)[:200]!r}. Expected text, finite numbers, lists and mappings."
            )
        return Sample(id=name, fields=dict(document))

    def _rows(self, name: str, number: int, document: Any) -> Iterator[tuple[Any, ...]]:
        """The requests of one document in the columns of schema.REQUESTS."""
        try:
            instances = self._instances(number, document)
        except RaybenchError:
            raise
        except Exception as error:  # the task's own code may raise anything
            raise DataError(
                f"task '{self.task.name}', sample '{name}': lm-evaluation-harness cannot ask it: {type(error).__name__}: {error}"
            ) from error
        for instance in instances:
            self._check(instance, name)
        if self.kind is not Kind.LOGLIKELIHOOD:
            if len(instances) != 1:
                raise DataError(f"task '{self.task.name}', sample '{name}': {len(instances)} requests of kind '{self.kind}', expected one.")
            yield self._row(name, "", instances[0].args[0], ())
            return
        groups = [(context, [i.args[1] for i in run]) for context, run in groupby(instances, key=lambda i: i.args[0])]
        for index, (context, options) in enumerate(groups):
            called = "uncond" if index and not context else f"{OPTION}{index}" if len(groups) > 1 else ""
            yield self._row(name, called, context, tuple(options))

    def _instances(self, number: int, document: Any) -> list[Any]:
        """As lm_eval api/task.py, build_all_requests, for one document."""
        made, chat = self.made, self.chat
        template = None if chat is None else _hold
        context = made.fewshot_context(
            document,
            num_fewshot=self.num_shots,
            system_instruction=chat.system_prompt if chat else None,
            apply_chat_template=chat is not None,
            fewshot_as_multiturn=chat is not None and chat.fewshot_as_multiturn,
            chat_template=template,
            gen_prefix=made.doc_to_prefix(document),
        )
        found = made.construct_requests(
            doc=document,
            ctx=context,
            metadata=(made.config["task"], number, made.config.repeats),
            apply_chat_template=chat is not None,
            chat_template=template,
        )
        return sorted(found if isinstance(found, list) else [found], key=lambda instance: instance.idx)

    def _check(self, instance: Any, name: str) -> None:
        where = f"task '{self.task.name}', sample '{name}'"
        if KINDS.get(instance.request_type) is not self.kind:
            raise DataError(f"{where}: asks for '{instance.request_type}' among requests of kind '{self.kind}', which is not supported.")
        if self.kind is Kind.GENERATE and sampling_of(instance.args[1], where=where) != self.sampling:
            raise DataError(f"{where}: has other generation arguments than the first document, which is not supported: {instance.args[1]}.")
        texts = instance.args[:1] if self.kind is not Kind.LOGLIKELIHOOD else instance.args[:2]
        if not all(isinstance(text, str) for text in texts) or len(instance.args) > 2:
            raise DataError(f"{where}: expected requests of text, found {[type(a).__name__ for a in instance.args]}.")
        if any(_MARK in text and not isinstance(text, _Conversation) for text in texts):
            raise DataError(
                f"{where}: its code changes the prompt after the chat template, which is not supported. Set chat_template: none."
            )

    def _row(self, name: str, request: str, context: str, continuations: Sequence[str]) -> tuple[Any, ...]:
        messages = context.messages if isinstance(context, _Conversation) else None
        prompt = context if messages is None else next(m["content"] for m in reversed(messages) if m["role"] == "user")
        return name, request, [], str(prompt), continuations, messages is None, (), "", None, None, messages

    def _shard(self, start: int, samples: list[Sample], rows: list[tuple[Any, ...]]) -> RenderedShard:
        try:
            columns = zip(*rows, strict=True)
            requests = pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, REQUESTS, strict=True)], schema=REQUESTS)
            return RenderedShard(
                start=start,
                stop=start + len(samples),
                samples=samples_to_batch(samples),
                requests=requests,
                cost=sum(len(row[3]) + sum(map(len, row[4])) + sum(len(m["content"]) for m in row[10] or ()) for row in rows),
            )
        except (UnicodeEncodeError, ValueError, TypeError) as error:
            raise DataError(
                f"task '{self.task.name}', samples '{samples[0].id}' to '{samples[-1].id}': a text or value cannot be written down: {error}."
            ) from error


def render_harness(
    task: HarnessTask,
    *,
    chat: Chat | None,
    shots: int | None,
    limit: int | None,
    shard_size: int | None,
    data: Mapping[str, DataConfig],
) -> HarnessRendering:
    """Make a task on its data, ready to build requests.

    Args:
        task: What is asked.
        chat: How the model is talked to; None: plain prompts.
        shots: Few-shot examples; None: what the task says.
        limit: Only the first n documents; the requests of these are the same without it.
        shard_size: Samples of a shard; None: 256, or 64 for `generate`.
        data: The `data:` map of the configuration.

    Raises:
        ConfigError, DataError: when the harness cannot make it, or its arguments have no counterpart.
    """
    (kind,) = task.forms
    made, seen = construct(task, data, shots=shots)
    if getattr(made, "MULTIMODAL", False):
        raise ConfigError(f"tasks: '{task.name}': it asks about images or sounds, and the engines here read text. Leave it out.")
    num_shots = int(made.get_config("num_fewshot") or 0)
    size = shard_size or (GENERATE_SHARD_SIZE if kind is Kind.GENERATE else SHARD_SIZE)
    rendering = HarnessRendering(
        task=task, kind=kind, chat=chat, num_shots=num_shots, seed=task.settings.fewshot_seed, limit=limit, shard_size=size,
        data=" ".join(seen) or "made by the task", key="", sampling=None, num_documents=len(made.eval_docs), made=made,
    )  # fmt: skip
    said = None if chat is None else [chat.fewshot_as_multiturn, chat.system_prompt]
    rendering.key = digest(
        "lm-eval", version(), VERSION, describe(task.declared), rendering.data, said, num_shots, rendering.seed, limit, size
    )
    if kind is Kind.GENERATE:
        with quietly():
            arguments = _first_arguments(rendering)
        rendering.sampling = sampling_of(arguments, where=f"task '{task.name}'")
    return rendering


def _first_arguments(rendering: HarnessRendering) -> Mapping[str, Any]:
    """Generation arguments of the first document: a class may have its own, which stand nowhere else."""
    number, document = next(iter(rendering.made.doc_iterator(limit=1, rank=0, world_size=1)))
    found = rendering._instances(number, document)[0].args
    return dict(found[1]) if len(found) > 1 else {}


def _hold(messages: list[dict[str, str]], *, add_generation_prompt: bool = True) -> _Conversation:
    """In place of the model's chat template."""
    held = _Conversation(_MARK + json.dumps(messages))
    held.messages = messages
    return held
