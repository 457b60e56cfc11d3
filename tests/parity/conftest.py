"""What parity tests compare: the real lm-evaluation-harness 0.4.13 and raybench, on the same rows and the same small checkpoints."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.parity.programs import Case, Harness, Mode, make_checkpoint

SPLITS = ("train", "validation", "validation_matched", "validation_mismatched", "test", "dev")


@pytest.fixture(scope="session")
def lm_eval() -> Any:
    """The harness as it is installed (dev extra)."""
    if importlib.util.find_spec("lm_eval") is None:
        if os.environ.get("CI"):
            pytest.fail("lm-eval is not installed, and this is CI")
        pytest.skip("lm-eval is not installed")
    import lm_eval

    return lm_eval


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Seeded models of two layers in float32, with a tokenizer that merges letters, as real ones do.

    llama: no token is put before a text; llama-bos: the same weights, and BOS before every text and in the chat template; gpt2: absolute positions, one token for all ends.
    """
    return {name: make_checkpoint(tmp_path_factory.mktemp("parity") / name, name) for name in ("llama", "llama-bos", "gpt2")}


@pytest.fixture(scope="session")
def harness(lm_eval: Any, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return Harness(lm_eval, tmp_path_factory.mktemp("harness-data"))


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Runs raybench on the same cases; gives its report."""
    import raybench

    def run(checkpoint: str, cases: list[Case], mode: Mode, *, limit: int | None = None, engine: dict[str, Any] | None = None) -> Any:
        model: dict[str, Any] = {"checkpoint": checkpoint, "name": "model", "chat_template": "auto" if mode.chat else "none"}
        if mode.chat:
            model |= {"fewshot_as_multiturn": mode.multiturn, "system_prompt": mode.system}
        config = raybench.parse_config(
            {
                "name": "parity",
                "output": str(tmp_path_factory.mktemp("run") / "run"),
                "models": [model],
                "tasks": [
                    {"name": c.task, "shots": mode.shots if c.shots else 0, "fewshot": "first_n", "limit": limit, **c.ours} for c in cases
                ],
                "engine": {"kind": "pytorch", "dtype": "float32", "threads": 1, **(engine or {})},
                "data": {c.source: {"path": str(c.rows.parent), "splits": dict.fromkeys(SPLITS, c.rows.name)} for c in cases},
                "pool": "local",
                "bootstrap": 0,
            }
        )
        report = raybench.run(config)
        assert report.exit_code == 0, report.problems
        return report

    return run
