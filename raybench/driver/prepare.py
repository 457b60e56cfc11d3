"""From a configuration to a plan: checkpoints and tasks found, prompts rendered once, everything checked before an engine starts."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raybench.core.checkpoint import Checkpoint, slug
from raybench.core.config import RunConfig
from raybench.core.engine_config import engine_config, merge
from raybench.core.errors import ConfigError, RunError
from raybench.core.fingerprint import digest
from raybench.core.garbage import fewer_collections
from raybench.core.mistakes import suggest
from raybench.core.protocols import TableMetric
from raybench.core.resolve import sampling_for
from raybench.core.types import Asking, Kind
from raybench.driver.catalog import Catalog, Entry, open_catalog
from raybench.driver.matching import check_fit, check_head, check_masks, served_by
from raybench.driver.models import architectures, carries_template, open_models
from raybench.driver.plan import Plan, PlannedModel, PlannedPair, PromptShards, plan
from raybench.engines.registry import check_options
from raybench.metrics import registry as metrics
from raybench.store.manifest import differences
from raybench.store.prompt_set import PromptSet
from raybench.store.run_dir import RunDir
from raybench.tasks.harness.library import HarnessTask
from raybench.tasks.harness.requests import Chat, HarnessRendering, render_harness
from raybench.tasks.prompts import Rendering, render

_LIBRARIES = {"pytorch": ("torch", "transformers"), "vllm": ("vllm", "torch", "transformers")}
"""Whose versions can change an engine's numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan and what it is about."""

    plan: Plan
    catalog: Catalog
    prompts: Mapping[str, PromptSet]
    warnings: Sequence[str]


@fewer_collections()
def prepare(config: RunConfig, store: RunDir, *, has_gpus: bool, tell: Callable[[str], None] = lambda text: None) -> Prepared:
    """Plan a run; renders the prompts that `store` does not have yet.

    Args:
        config: The run.
        store: Its directory; the caller holds the lock.
        has_gpus: Whether there are GPUs where the engines will be.
        tell: Gets a line about what takes time.

    Raises:
        ConfigError, DataError, CheckpointError: what is wrong, before any engine starts.
        RunError: when the directory holds prompts of another plan.
    """
    catalog = open_catalog(config)
    models = open_models(config)
    sets: dict[str, Rendering | HarnessRendering] = {}
    pairs = [
        _pair(config, index, model, entry, sets)
        for index, model in enumerate(models)
        if model.failed is None
        for entry in catalog.entries
    ]  # fmt: skip
    prompts = {
        name: _rendered(store, name, sets.pop(name), tell) for name in list(sets)
    }  # what a rendering holds is free once it is written
    engines = [engine_config(merge(config.engine, m.config.engine, e.config.engine)) for m in models for e in catalog.entries]
    for engine in engines:
        check_options(engine)
    whole = plan(
        config,
        models,
        pairs,
        {name: _shards(found) for name, found in prompts.items()},
        versions={kind: versions_of(kind) for kind in sorted({e.kind for e in engines})},
        has_gpus=has_gpus,
    )
    return Prepared(plan=whole, catalog=catalog, prompts=prompts, warnings=_warnings(models))


def _pair(config: RunConfig, index: int, model: PlannedModel, entry: Entry, sets: dict[str, Rendering | HarnessRendering]) -> PlannedPair:
    engine = engine_config(merge(config.engine, model.config.engine, entry.config.engine))
    kind = choose_form(entry, model, engine.kind)
    form = entry.form(kind)
    chat = _chat_of(model.checkpoint) if isinstance(entry.task, HarnessTask) else None
    # the harness builds other requests for a chat, and puts the system prompt in
    said = "" if chat is None else f".chat-{digest(chat.fewshot_as_multiturn, chat.system_prompt)[:8]}"
    name = slug(f"{entry.label.replace('/', '.')}.{kind.value}{said}")
    if name not in sets:
        sets[name] = _rendering(config, entry, kind, chat)
    rendering = sets[name]
    num_shots = rendering.num_shots
    repeats = entry.config.repeats or entry.task.repeats
    own = rendering.sampling if isinstance(rendering, HarnessRendering) else form.sampling
    sampling = sampling_for(own, config.sampling, model.config.sampling, entry.config.sampling)
    check_fit(engine, model.checkpoint, kind, sampling, where=f"{model.name}, task '{entry.label}'")
    check_masks(engine, kind, form.metrics, where=f"{model.name}, task '{entry.label}'")
    check_head(engine.kind, model.checkpoint, kind, form.labels, where=f"{model.name}, task '{entry.label}'")
    if isinstance(rendering, HarnessRendering) and (sampling is None or sampling.temperature == 0):
        repeats = 1  # equal answers are asked for once, and counted as often as the harness wants
    if repeats > 1 and sampling is not None and sampling.temperature == 0:
        raise ConfigError(f"task '{entry.label}': {repeats} repeats of a greedy answer are all the same; set sampling.temperature.")
    hungry = next((m for m in form.metrics if metrics.repeats(m) > repeats), None)
    if hungry is not None:
        raise ConfigError(
            f"task '{entry.label}': metric '{hungry}' needs {metrics.repeats(hungry)} answers to each sample, repeats is {repeats}."
        )
    once = next((m for m in form.metrics if repeats > 1 and isinstance(metrics.get_metric(m), TableMetric)), None)
    if once is not None:
        raise ConfigError(f"task '{entry.label}': metric '{once}' counts every sample once, repeats is {repeats}. Leave repeats out.")
    return PlannedPair(
        model=index,
        task=entry.label,
        config=entry.config,
        asking=Asking(
            task=entry.label,
            kind=kind,
            description=form.description,
            delimiter=form.delimiter,
            separator=form.separator,
            sampling=sampling,
            num_repeats=repeats,
            labels=form.labels,
            keep_tokens=config.keep_tokens if entry.config.keep_tokens is None else entry.config.keep_tokens,
            seed=config.seed,
        ),
        prompts=name,
        metrics=form.metrics,
        limit=rendering.limit,
        task_identity={
            "version": entry.task.version,
            "split": entry.task.source.split,
            "data": rendering.data,
            "shots": num_shots,
            "fewshot": rendering.sampler if num_shots else None,
            "fewshot_seed": rendering.seed if num_shots and rendering.sampler in ("seeded", "lm-eval") else None,
            "shard_size": rendering.shard_size,
        },
    )


def _rendering(config: RunConfig, entry: Entry, kind: Kind, chat: Chat | None) -> Rendering | HarnessRendering:
    limits = [n for n in (config.limit, entry.config.limit) if n is not None]
    limit, shots, shard_size = min(limits) if limits else None, entry.config.shots, entry.config.shard_size
    if isinstance(entry.task, HarnessTask):
        return render_harness(entry.task, chat=chat, shots=shots, limit=limit, shard_size=shard_size, data=config.data)
    task = replace(entry.task, forms={**entry.task.forms, kind: entry.form(kind)})
    return render(
        task,
        kind,
        shots=shots,
        sampler=entry.config.fewshot,
        seed=config.seed,
        limit=limit,
        shard_size=shard_size,
        data=config.data,
    )


def _chat_of(checkpoint: Checkpoint) -> Chat | None:
    if checkpoint.chat_template is None:
        return None
    return Chat(fewshot_as_multiturn=checkpoint.fewshot_as_multiturn, system_prompt=checkpoint.system_prompt)


def choose_form(entry: Entry, model: PlannedModel, engine_kind: str) -> Kind:
    """The form a model is asked in: as configured, otherwise the task's first that the engine serves for the checkpoint.

    Raises:
        ConfigError: when there is none.
    """
    served = served_by(engine_kind, model.checkpoint)
    wanted = entry.config.form or model.config.forms.get(entry.label)
    own = ", ".join(entry.task.forms)
    if wanted is None:
        fitting = next((k for k in entry.task.forms if k in served), None)
        if fitting is None:
            answers = ", ".join(served) or "nothing for its architecture " + ", ".join(architectures(model.checkpoint))
            raise ConfigError(f"task '{entry.label}' can be asked as {own}; engine '{engine_kind}' with {model.name} serves {answers}.")
        return fitting
    if wanted not in list(entry.task.forms):
        raise ConfigError(f"task '{entry.label}': '{wanted}' is none of its forms ({own}).{suggest(wanted, entry.task.forms)}")
    if Kind(wanted) not in served:
        raise ConfigError(f"task '{entry.label}': engine '{engine_kind}' with {model.name} does not serve '{wanted}'.")
    return Kind(wanted)


def _rendered(store: RunDir, name: str, rendering: Rendering | HarnessRendering, tell: Callable[[str], None]) -> PromptSet:
    """The prompt set of the run directory where it is still what would be rendered now, otherwise a new one."""
    existing = store.prompts(name)
    if existing is not None and existing.meta.get("key") == rendering.key:
        return existing
    tell(f"rendering the prompts of {rendering.task.name}")
    if existing is None:
        return _write(store, name, rendering)
    with tempfile.TemporaryDirectory(prefix="raybench-prompts-") as folder:
        now = _write(RunDir(Path(folder)), name, rendering)
        if now.shards.digest == existing.shards.digest:  # other code or file, the same questions
            return existing
        if store.has_manifest():
            changed = differences(existing.meta, now.meta)
            raise RunError(
                f"{store.name}: the prompts of '{rendering.task.name}' are not those of this run:\n"
                + "".join(f"  {line}\n" for line in changed)
                + "Put back what changed, choose another --output, or start afresh with --new (with --reuse for shards that are equal)."
            )
    store.remove_prompts(name)  # left by a run that ended before it had a manifest
    return _write(store, name, rendering)


def _write(store: RunDir, name: str, rendering: Rendering | HarnessRendering) -> PromptSet:
    has_clusters = False
    with store.prompt_writer(name) as writer:
        for shard in rendering.shards():
            writer.add(shard.samples, shard.requests, cost=shard.cost)
            has_clusters = has_clusters or shard.samples.column("cluster").null_count < shard.samples.num_rows
        meta = {
            "key": rendering.key,
            "task": rendering.task.name,
            "version": rendering.task.version,
            "kind": rendering.kind.value,
            "data": rendering.data,
            "shots": rendering.num_shots,
            "sampler": rendering.sampler,
            "seed": rendering.seed,
            "limit": rendering.limit,
            "shard_size": rendering.shard_size,
            "has_clusters": has_clusters,
        }
        if isinstance(rendering, HarnessRendering):
            meta["num_documents"] = rendering.num_documents
        return writer.finish(rendering.shots, meta)


def _shards(prompts: PromptSet) -> PromptShards:
    table = prompts.shards
    return PromptShards(
        start=table.start, stop=table.stop, num_requests=table.num_requests, cost=table.cost.astype(float), digests=table.digest
    )


def versions_of(engine_kind: str) -> str:
    """Versions of the libraries that an engine computes with, `torch-2.13.0 transformers-5.19.0`; without local build marks."""
    found = [(name, importlib.metadata.version(name).partition("+")[0]) for name in map(_distribution, _LIBRARIES.get(engine_kind, ()))]
    return " ".join(f"{name}-{version}" for name, version in found)


def _distribution(library: str) -> str:
    """The distribution that brings a library: vLLM for CPUs is one of its own."""
    return next((name for name in (library, f"{library}-cpu") if _is_installed(name)), library)


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _warnings(models: Sequence[PlannedModel]) -> list[str]:
    return [
        f"{m.name} carries a chat template and runs without it: set chat_template: auto, or none if that is meant."
        for m in models
        if m.failed is None and "chat_template" not in m.config.model_fields_set and carries_template(m.checkpoint)
    ]
