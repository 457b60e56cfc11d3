"""Names of checkpoints: what a URI in the configuration means. Pure; nothing is read here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raybench.core.errors import ConfigError
from raybench.core.fingerprint import digest
from raybench.core.types import Kind

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
"""A name that is safe as a file name everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A plain PyTorch module: the function that makes it, and what its outputs mean."""

    factory: str
    """`package.module:function`; gives a torch.nn.Module."""
    kinds: tuple[Kind, ...]
    """What it can be asked."""
    labels: tuple[str, ...] = ()
    """Names of its logits, in order, for `classify` and `tag`; empty: a regression."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of the factory; JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where weights come from, and what they are."""

    uri: str
    """As configured: a hub id, a folder, a GGUF file, `package://module/file`, or empty for an engine without weights."""
    revision: str | None = None
    """Commit, tag or branch of a hub id."""
    path: str | None = None
    """Folder or file on this machine; None for a hub id that the engine fetches."""
    staged: str | None = None
    """Of a checkpoint on an object store: the digest of its files, which every node that brings them holds them against."""
    identity: str = ""
    """Digest of the files, or `hub:<id>@<commit>`; empty until resolved."""
    tokenizer: str | None = None
    """Another folder or hub id to take the tokenizer from."""
    adapter: str | None = None
    """Folder of a LoRA adapter on the weights."""
    architectures: tuple[str, ...] = ()
    """Class names of its config.json, where the hub tells them of files that are not here yet."""
    module: Module | None = None
    """Set where the weights are those of a plain PyTorch module; `path` is then its state file."""
    chat_template: str | None = None
    """`auto` (the checkpoint's own), the text of a Jinja template, or None for plain prompts."""
    system_prompt: str | None = None
    """Put before the conversation; only with a chat template."""
    fewshot_as_multiturn: bool = True
    """Under a chat template, examples are turns of their own; otherwise they stand in one user message."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further variables of the chat template, such as `enable_thinking`; JSON values."""
    think_end: str | None = None
    """What ends a reasoning trace, such as `</think>`; what stands before it is split off the answer."""
    label_map: Mapping[str, str] = field(default_factory=dict)
    """The checkpoint's label name to the task's, where the names differ (LABEL_0)."""
    allow_pickle: bool = False
    """Consent to load pickled weights (`weights_only=True` all the same)."""
    trust_remote_code: bool = False
    """Consent to run Python code that lies in the checkpoint."""


def split_revision(uri: str) -> tuple[str, str | None]:
    """Separate `org/name@revision`; a path keeps its `@`."""
    if uri.startswith((".", "/", "~", "package://")) or "@" not in uri:
        return uri, None
    name, _, revision = uri.rpartition("@")
    if not name or not revision:
        raise ConfigError(f"checkpoint '{uri}': expected hub-id@revision, found an empty part beside the '@'.")
    return name, revision


def package_parts(uri: str) -> tuple[str, str]:
    """The module and the file inside it of `package://module/file`."""
    module, _, file = uri.removeprefix("package://").partition("/")
    if not re.fullmatch(r"[A-Za-z_][\w.]*", module) or not file or ".." in file.split("/"):
        raise ConfigError(f"'{uri}': expected package://module/file with a file inside the package.")
    return module, file


def slug(text: str) -> str:
    """`text` as a safe file name: itself where possible, otherwise cleaned and with a short digest of the original."""
    if NAME.fullmatch(text):
        return text
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:60] or "x"
    return f"{clean}-{digest(text)[:8]}"
