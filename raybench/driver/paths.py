"""Names of tasks and models as file names in the run directory."""

from __future__ import annotations

from raybench.core.checkpoint import slug


def task_path(label: str) -> str:
    """`mmlu/anatomy` as `mmlu.anatomy`; a label that is no safe name gets a digest behind it."""
    return _safe(label.replace("/", "."))


def model_path(name: str) -> str:
    """A model's name, cleaned where it has to be."""
    return _safe(name)


def _safe(name: str) -> str:
    clean = slug(name)
    return f"{clean}_" if clean.endswith((".parquet", ".json")) else clean
