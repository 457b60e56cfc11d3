"""Results in the harness's own JSON layout, for the tools that read it (lm_eval 0.4.13, loggers/evaluation_tracker.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raybench.core.version import VERSION
from raybench.tasks.harness.door import quietly, version


def sample_line(logged: Mapping[str, Any]) -> str:
    """One line of a sample file."""
    from lm_eval.utils import handle_non_serializable, sanitize_list

    plain = {**logged, "resps": sanitize_list(logged["resps"]), "filtered_resps": sanitize_list(logged["filtered_resps"])}
    return json.dumps(plain, default=handle_non_serializable, ensure_ascii=False) + "\n"


def results_file(
    collected: Any, *, model: str, source: str, config: Mapping[str, Any], task_hashes: Mapping[str, str], seconds: float | None
) -> str:
    """The results of one model.

    Args:
        collected: evaluator_utils.EvalAcc with tasks and groups.
        model: Name of the model.
        source: The engine, where the harness writes its backend.
        config: How it was run: the harness's keys where they mean the same.
        task_hashes: Task to the hash over its samples.
        seconds: When the run began, since the epoch.
    """
    from lm_eval.utils import handle_non_serializable, sanitize_model_name

    with quietly():
        whole = collected._to_eval_results()
    whole |= {
        "config": {"model": source, "model_args": {"pretrained": model}, **config},
        "git_hash": None,
        "date": seconds,
        "lm_eval_version": version(),
        "raybench_version": VERSION,
        "task_hashes": dict(task_hashes),
        "model_source": source,
        "model_name": model,
        "model_name_sanitized": sanitize_model_name(model),
    }
    return json.dumps(whole, indent=2, default=handle_non_serializable, ensure_ascii=False)
