"""Names of checkpoints: what a URI in the configuration means. Pure; nothing is read here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from raybench.core.errors import ConfigError
from raybench.core.fingerprint import digest

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
"""A name that is safe as a file name everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where weights come from, and what they are."""

    uri: str
    """As configured: a hub id, a folder, a GGUF file, `package://module/file`, or empty for an engine without weights."""
    revision: str | None = None
    """Commit, tag or branch of a hub id."""
    path: str | None = None
    """Folder or file on this machine; None for a hub id that the engine fetches."""
    identity: str = ""
    """Digest of the files, or `hub:<id>@<commit>`; empty until resolved."""
    tokenizer: str | None = None
    """Another folder or hub id to take the tokenizer from."""
    chat_template: str | None = None
    """`auto` (the checkpoint's own), the text of a Jinja template, or None for plain prompts."""
    system_prompt: str | None = None
    """Put before the conversation; only with a chat template."""
    fewshot_as_multiturn: bool = True
    """Under a chat template, examples are turns of their own; otherwise they stand in one user message."""
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
