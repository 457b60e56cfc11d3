"""The checkpoints of a run: lists, revisions and globs expanded, places found, identities taken, broken ones told."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from raybench.core.checkpoint import Checkpoint, Module, split_revision
from raybench.core.config import ModelConfig, RunConfig
from raybench.core.engine_config import engine_config, merge
from raybench.core.errors import CheckpointError, ConfigError, EngineError
from raybench.core.fingerprint import digest
from raybench.driver.plan import PlannedModel
from raybench.engines.adapter import check_adapter
from raybench.engines.gguf import check_gguf, converted_before
from raybench.engines.loading import check_folder, has_chat_template, read_config
from raybench.store.checkpoint_files import checkpoint_identity, expand_checkpoints, resolve_package, source_of
from raybench.store.objects import is_uri
from raybench.store.staging import stage

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def open_models(config: RunConfig) -> list[PlannedModel]:
    """All checkpoints, in order. A broken one is kept with its reason where `on_broken_checkpoint` says skip.

    Raises:
        CheckpointError: for a broken one otherwise.
        ConfigError: when names clash.
    """
    drafts = [draft for model in config.models for draft in _expand(model)]
    names = name_models([(m.name, _shown(m.checkpoint, revision)) for m, revision in drafts])
    is_skipped = skips_broken(config, len(drafts))
    models: list[PlannedModel] = []
    for name, (model, revision) in zip(names, drafts, strict=True):
        checkpoint = Checkpoint(
            uri=model.checkpoint,
            revision=revision,
            tokenizer=model.tokenizer,
            adapter=_adapter(model, _kind(config, model)),
            chat_template=_chat_template(model),
            system_prompt=model.system_prompt,
            fewshot_as_multiturn=model.fewshot_as_multiturn,
            chat_template_kwargs=model.chat_template_kwargs,
            think_end=model.think_end,
            label_map=model.label_map,
            module=None if model.module is None else Module(**dict(model.module)),
            allow_pickle=model.allow_pickle,
            trust_remote_code=model.trust_remote_code,
        )
        try:
            located = _with_adapter(_with_tokenizer(locate(checkpoint, _kind(config, model))))
            models.append(PlannedModel(name=name, checkpoint=located, config=model))
        except CheckpointError as error:
            if not is_skipped:
                raise
            models.append(PlannedModel(name=name, checkpoint=checkpoint, config=model, failed=error.message))
    if all(m.failed for m in models):
        raise CheckpointError("no checkpoint can be loaded:\n" + "\n".join(f"  {m.name}: {m.failed}" for m in models))
    return models


def skips_broken(config: RunConfig, num_models: int) -> bool:
    """Whether a broken checkpoint leaves the others running: as `on_broken_checkpoint` says, otherwise where there are others."""
    return config.on_broken_checkpoint == "skip" or (config.on_broken_checkpoint is None and num_models > 1)


def _expand(model: ModelConfig) -> Sequence[tuple[ModelConfig, str | None]]:
    """(model, revision) of each checkpoint that an entry stands for."""
    uri, revision = split_revision(model.checkpoint)
    if model.revisions:
        if revision is not None:
            raise ConfigError(f"models: {model.checkpoint}: give the revision in the name or under `revisions`, not both.")
        if model.name is not None and len(model.revisions) > 1:
            raise ConfigError(f"models: '{model.name}': several revisions cannot share a name; leave `name` out.")
        return [(model, r) for r in model.revisions]
    if re.search(r"[*?\[]", uri):
        paths = expand_checkpoints(uri, files=STATE_FILES if model.module is not None else (".gguf",))
        if model.name is not None and len(paths) > 1:
            raise ConfigError(f"models: '{model.name}': {len(paths)} checkpoints cannot share a name; leave `name` out.")
        return [(model.model_copy(update={"checkpoint": str(p)}), None) for p in paths]
    return [(model.model_copy(update={"checkpoint": uri}), revision)]


def _shown(uri: str, revision: str | None) -> str:
    return uri if revision is None else f"{uri}@{revision}"


def _kind(config: RunConfig, model: ModelConfig) -> str:
    return engine_config(merge(config.engine, model.engine)).kind


def locate(checkpoint: Checkpoint, engine_kind: str) -> Checkpoint:
    """The checkpoint with its place and identity filled in.

    Raises:
        CheckpointError: when it is missing, or broken in a way that its files tell.
    """
    uri = checkpoint.uri
    if engine_kind == "fake" and (not uri or not (uri.startswith("package://") or Path(uri).expanduser().exists())):
        return replace(checkpoint, identity=f"fake:{_shown(uri, checkpoint.revision)}")
    if not uri:
        raise CheckpointError(f"models: an empty checkpoint is only for the fake engine; engine.kind is '{engine_kind}'.")
    if uri.startswith("package://"):
        return _local(checkpoint, resolve_package(uri))
    if is_uri(uri):
        try:
            staged, found = stage(uri)
        except EngineError as error:
            raise CheckpointError(error.message) from error
        return _local(replace(checkpoint, staged=found), staged)
    path = Path(uri).expanduser()
    if checkpoint.module is not None and not path.is_file():
        raise CheckpointError(
            f"checkpoint {uri}: no such file (looked in {Path.cwd()}). Expected the state of the module, as torch.save writes it."
        )
    if path.exists():
        return _local(checkpoint, path.resolve())
    if uri.startswith((".", "/", "~")) or not HUB_ID.fullmatch(uri):
        raise CheckpointError(f"checkpoint {uri}: no such file or folder (looked in {Path.cwd()}). A hub id is written org/name.")
    return _hub(checkpoint)


STATE_FILES = (".pt", ".pth", ".safetensors")
"""What the weights of a plain module are kept in."""


def _local(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    if checkpoint.module is not None:
        return _module(checkpoint, checkpoint.module, path)
    if path.is_dir():
        check_folder(path, allow_pickle=checkpoint.allow_pickle, trust_remote_code=checkpoint.trust_remote_code)
    located = replace(checkpoint, path=str(path), identity=checkpoint_identity(path))
    if path.suffix == ".gguf" and converted_before(located) is None:
        check_gguf(path)
    return located


def _module(checkpoint: Checkpoint, module: Module, path: Path) -> Checkpoint:
    """A plain module is its weights, the file that defines it, and what it is made with."""
    if path.suffix not in STATE_FILES:
        raise CheckpointError(f"checkpoint {path}: expected the state of a module, a {', '.join(STATE_FILES)} file.")
    code = source_of(module.factory)
    identity = digest(checkpoint_identity(path), module.factory, checkpoint_identity(code), dict(module.arguments), list(module.labels))
    return replace(checkpoint, path=str(path), identity=identity)


def _with_tokenizer(checkpoint: Checkpoint) -> Checkpoint:
    """The identity of a checkpoint whose tokenizer lies in another folder is that of both."""
    for name, value in (("tokenizer", checkpoint.tokenizer), ("adapter", checkpoint.adapter)):
        if value is not None and is_uri(value):
            raise ConfigError(
                f"models: {checkpoint.uri}: {name} '{value}': only checkpoints are brought from object stores; expected a folder."
            )
    folder = None if checkpoint.tokenizer is None else Path(checkpoint.tokenizer).expanduser()
    if folder is None or not folder.is_dir():
        return checkpoint
    return replace(checkpoint, identity=digest(checkpoint.identity, checkpoint_identity(folder)))


def _adapter(model: ModelConfig, engine_kind: str) -> str | None:
    """The adapter's folder, for an engine that can put it in."""
    if model.adapter is None:
        return None
    if engine_kind not in ("pytorch", "vllm"):
        raise ConfigError(f"models: {model.checkpoint}: an adapter is for the engines pytorch and vllm; engine.kind is '{engine_kind}'.")
    return model.adapter if is_uri(model.adapter) else str(Path(model.adapter).expanduser().resolve())


def _with_adapter(checkpoint: Checkpoint) -> Checkpoint:
    """The identity of a checkpoint with an adapter is that of both."""
    if checkpoint.adapter is None:
        return checkpoint
    if checkpoint.module is not None:
        raise ConfigError(f"models: {checkpoint.uri}: an adapter is for checkpoints of transformers, not for a plain module.")
    folder = Path(checkpoint.adapter)
    check_adapter(folder, allow_pickle=checkpoint.allow_pickle)
    return replace(checkpoint, identity=digest(checkpoint.identity, "adapter", checkpoint_identity(folder)))


def _hub(checkpoint: Checkpoint) -> Checkpoint:
    """A hub id is named by the commit that its revision means now."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    revision = checkpoint.revision or "main"
    cached = try_to_load_from_cache(checkpoint.uri, "config.json", revision=revision)
    if isinstance(cached, str):  # .../snapshots/<commit>/config.json
        return _local(replace(checkpoint, revision=Path(cached).parent.name), Path(cached).parent)
    try:
        info = HfApi().model_info(checkpoint.uri, revision=revision)
    except Exception as error:  # the hub's client lets through whatever its network library raises
        raise CheckpointError(
            f"checkpoint {checkpoint.uri}@{revision}: no such folder here, and the hub gives no answer: {_first_line(error)}. Check the "
            "spelling; for a local folder write ./name; without a network, download the checkpoint first."
        ) from error
    names = (getattr(info, "config", None) or {}).get("architectures") or ()
    return replace(checkpoint, revision=info.sha, identity=f"hub:{checkpoint.uri}@{info.sha}", architectures=tuple(names))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _chat_template(model: ModelConfig) -> str | None:
    """None, `auto`, or the text of a template file."""
    if model.chat_template == "none":
        if model.system_prompt is not None:
            raise ConfigError(f"models: {model.checkpoint}: a system_prompt needs a chat template; set chat_template: auto.")
        if model.chat_template_kwargs:
            raise ConfigError(f"models: {model.checkpoint}: chat_template_kwargs need a chat template; set chat_template: auto.")
        return None
    if model.chat_template == "auto":
        return "auto"
    try:
        return Path(model.chat_template).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"models: chat_template '{model.chat_template}': expected none, auto or a readable Jinja file: {error}."
        ) from error


def architectures(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Class names in the checkpoint's config.json; empty where neither the file nor the hub tells."""
    if checkpoint.module is not None:
        return ()
    if checkpoint.path is None or not os.path.isdir(checkpoint.path):
        return checkpoint.architectures
    return tuple(read_config(Path(checkpoint.path)).get("architectures") or ())


def carries_template(checkpoint: Checkpoint) -> bool | None:
    """Whether the checkpoint carries a chat template; None where its files are not here."""
    return None if checkpoint.path is None else has_chat_template(converted_before(checkpoint) or checkpoint.path)


def name_models(candidates: Sequence[tuple[str | None, str]]) -> list[str]:
    """Names of models: the configured one, otherwise the last part of the URI, made unique by more of the URI.

    Args:
        candidates: (configured name, URI with @revision) of each model.

    Raises:
        ConfigError: when two configured names are equal.
    """
    given = [name for name, _ in candidates if name is not None]
    doubled = sorted({n for n in given if given.count(n) > 1})
    if doubled:
        raise ConfigError(f"models: the name '{doubled[0]}' stands twice; give each model its own.")
    short = [name or _last_part(uri) for name, uri in candidates]
    names = [name or (s if short.count(s) == 1 else uri) for s, (name, uri) in zip(short, candidates, strict=True)]
    doubled = sorted({n for n in names if names.count(n) > 1})
    if doubled:
        raise ConfigError(f"models: '{doubled[0]}' stands twice. To run a checkpoint in two ways, give each entry a `name`.")
    return names


def _last_part(uri: str) -> str:
    last = uri.rstrip("/").rpartition("/")[2] or uri
    return last.removesuffix(".gguf") or "model"
