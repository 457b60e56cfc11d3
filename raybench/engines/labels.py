"""The label names of a head onto those of a task: orders and spellings differ between checkpoints, and a wrong guess would look like a bad model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raybench.core.errors import ConfigError
from raybench.core.types import Kind


def head_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The label names of a head in the order of its logits, from the content of config.json.

    transformers leaves the names out where they are LABEL_0 and LABEL_1, and makes up names of its own where `num_labels` says another count
    (5.19, configuration_utils.py). A multiple-choice head has one value, whatever names stand there.
    """
    if any(str(name).endswith("ForMultipleChoice") for name in config.get("architectures") or ()):
        return ("value",)
    names = config.get("id2label") or {}
    count = config.get("num_labels")
    if names and count in (None, len(names)):
        return tuple(str(name) for _, name in sorted(names.items(), key=lambda item: int(item[0])))
    return tuple(f"LABEL_{i}" for i in range(count if isinstance(count, int) else 2))


def check_labels(kind: Kind, head: Sequence[str], labels: Sequence[str], label_map: Mapping[str, str], *, where: str) -> None:
    """Refuse a head whose labels are not those of the task.

    Raises:
        ConfigError: see `order_of` and `tag_names`.
    """
    if kind is Kind.CLASSIFY:
        order_of(head, labels, label_map, where=where)
    elif kind is Kind.TAG:
        tag_names(head, labels, label_map, where=where)


def order_of(head: Sequence[str], labels: Sequence[str], label_map: Mapping[str, str], *, where: str) -> list[int]:
    """For each label of the task, the number of the logit that stands for it.

    Names are compared after `label_map`, then without case, '-', '_' and spaces.

    Args:
        head: Label names of the checkpoint, in the order of its logits.
        labels: Label names of the task; empty: a regression, which has one logit.
        label_map: The checkpoint's name to the task's.
        where: Task and model, for messages.

    Raises:
        ConfigError: when the two do not belong to each other, one to one.
    """
    if not labels:
        if len(head) != 1:
            raise ConfigError(f"{where}: the task is a regression and needs a head with one value; this one has {len(head)} labels.")
        return [0]
    _check_map(head, label_map, where)
    found = [_match(label_map.get(name, name), labels) for name in head]
    if sorted(i for i in found if i is not None) == list(range(len(labels))) and None not in found:
        return [found.index(i) for i in range(len(labels))]
    raise ConfigError(
        f"{where}: the checkpoint's labels ({_listed(head)}) are not, one to one, the task's ({_listed(labels)}). "
        f"Say which is which: label_map: {{{', '.join(f'{h}: ...' for h in head[:3])}}} on the model, in the order it was trained with."
    )


def tag_names(head: Sequence[str], labels: Sequence[str], label_map: Mapping[str, str], *, where: str) -> list[str]:
    """For each label of a tagger, the task's name of it; several may mean the same.

    Args:
        head: Label names of the checkpoint, in the order of its logits.
        labels: Names of the task; empty: any.
        label_map: The checkpoint's name to the task's.
        where: Task and model, for messages.

    Raises:
        ConfigError: when a label of the checkpoint is none of the task's.
    """
    _check_map(head, label_map, where)
    mapped = [label_map.get(name, name) for name in head]
    if not labels:
        return mapped
    found = [_match(name, labels) for name in mapped]
    unknown = [name for name, i in zip(head, found, strict=True) if i is None]
    if unknown:
        raise ConfigError(
            f"{where}: {len(unknown)} labels of the checkpoint ({_listed(unknown)}) are none of the task's ({_listed(labels)}). "
            f"Say what they mean: label_map: {{{unknown[0]}: {labels[0]}, ...}} on the model."
        )
    return [labels[i] for i in found if i is not None]


def _check_map(head: Sequence[str], label_map: Mapping[str, str], where: str) -> None:
    foreign = [name for name in label_map if name not in head]
    if foreign:
        raise ConfigError(f"{where}: label_map names {_listed(foreign)}, which the checkpoint does not have. It has {_listed(head)}.")


def _match(name: str, labels: Sequence[str]) -> int | None:
    if name in labels:
        return list(labels).index(name)
    plain = [_plain(label) for label in labels]
    return plain.index(_plain(name)) if plain.count(_plain(name)) == 1 else None


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c not in "-_ ")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
