"""One number of several tasks: MMLU's subjects, the overall scores of GLUE and SuperGLUE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raybench.core.fingerprint import digest
from raybench.core.results import Estimate, Result
from raybench.driver.catalog import Catalog
from raybench.metrics.interval import average, combine
from raybench.tasks.task import Group

Key = tuple[str, str, str]
"""Model, task, metric."""


def group_results(catalog: Catalog, models: Sequence[str], results: Sequence[Result]) -> list[Result]:
    """The groups' numbers, per model in order, outer groups first; withheld when a member is missing.

    Args:
        catalog: Whose groups.
        models: Names, in the order of the table; may repeat.
        results: Of the tasks.
    """
    by_key = {(r.model, r.task, r.metric): r for r in results}
    by_name = {g.name: g for g in catalog.groups if g.metric}

    def leaves(name: str) -> list[str]:
        return [leaf for member in by_name[name].members for leaf in leaves(member)] if name in by_name else [name]

    every: list[Result] = []
    for model in dict.fromkeys(models):
        made: list[Result] = []
        for group in reversed(list(by_name.values())):  # the inner ones first
            # equal weights are of the direct members, which may be groups themselves; weights by samples are the same either way
            names = leaves(group.name) if group.weights == "samples" else list(group.members)
            result = _result(group, model, names, by_key)
            if result is not None:
                made.insert(0, result)
                by_key[(model, group.name, group.metric)] = result
        every += made
    return every


def _result(group: Group, model: str, names: Sequence[str], by_key: Mapping[Key, Result]) -> Result | None:
    members = [[by_key.get((model, name, metric)) for metric in group.of.get(name, (group.metric,))] for name in names]
    if not any(found is not None for metrics in members for found in metrics):
        return None
    present = [[m for m in metrics if m is not None and m.estimate.value is not None] for metrics in members]
    absent = [name for name, asked, found in zip(names, members, present, strict=True) if len(found) < len(asked)]
    if absent:
        value = Estimate(value=None, num_samples=0, num_errors=0)
    else:
        value = combine([average([m.estimate for m in metrics]) for metrics in present], group.weights)
    flat = [m for metrics in present for m in metrics]
    sign = f"group:{group.name}|v:{group.version}|weights:{group.weights}|metric:{group.metric}|members:{len(names)}"
    sign += f"|n:{value.num_samples}|err:{value.num_errors}|signatures:{digest([m.signature for m in flat])[:8]}"
    return Result(
        model=model,
        task=group.name,
        form="group",
        metric=group.metric,
        estimate=value,
        higher_is_better=flat[0].higher_is_better if flat else True,
        signature=f"{sign}|PARTIAL" if any(m.signature.endswith("|PARTIAL") for m in flat) else sign,
        withheld=f"{len(absent)} of {len(names)} members have no value, the first: {absent[0]}" if absent else None,
    )
