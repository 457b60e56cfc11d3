"""What is taken for a secret, and that none of them is written into a run: the manifest keeps the configuration and the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from raybench.core.errors import ConfigError

SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)KEY($|_)|APIKEY", re.IGNORECASE)
"""Names of environment variables whose values are taken for secrets."""
_PLACES = re.compile(r"_(PATH|FILE|DIR|URL|ID)$|TOKENIZERS", re.IGNORECASE)
_SHORTEST = 8


def refuse_secrets(content: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Refuse what holds the value of a secret environment variable.

    Args:
        content: JSON values that are about to be stored.
        environ: Variables, secret by their names.

    Raises:
        ConfigError: names the variable, and does not repeat the value.
    """
    text = json.dumps(content, ensure_ascii=False)
    for name, value in environ.items():
        if (
            SECRET.search(name)
            and not _PLACES.search(name)
            and len(value) >= _SHORTEST
            and json.dumps(value, ensure_ascii=False)[1:-1] in text
        ):
            raise ConfigError(
                f"the configuration or the command line holds the value of {name}, and both are stored with the run. Take it out: hubs, stores and Ray find "
                "their credentials in the environment; a command of `on_finish` can be a script that reads it."
            )
