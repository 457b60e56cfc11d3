from __future__ import annotations

from typing import Any

import pytest

from raybench.core.errors import ConfigError
from raybench.core.secrets import refuse_secrets


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("HF_TOKEN", {"config": {"on_finish": ["curl", "-H", "Authorization: Bearer canary-0123"]}}),
        ("AWS_SECRET_ACCESS_KEY", {"made_by": {"command": ["raybench", "run", "--set", "x=canary-0123"]}}),
        ("MY_PASSWORD", {"config": {"name": "canary-0123"}}),
    ],
)
def test_the_value_of_a_secret_is_refused_by_the_variable_s_name(name: str, content: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"holds the value of {name}") as caught:
        refuse_secrets(content, {name: "canary-0123"})

    assert "canary" not in caught.value.message


@pytest.mark.parametrize(
    "environ",
    [
        {"HF_TOKEN": "another-value"},
        {"TOKENIZERS_PARALLELISM": "canary-0123"},  # no token
        {"RAY_AUTH_TOKEN_PATH": "canary-0123"},  # where one lies
        {"API_KEY": "canary"},  # too short to be one: it would be found everywhere
        {"HOSTNAME": "canary-0123"},
    ],
)
def test_what_is_no_secret_may_be_stored(environ: dict[str, str]) -> None:
    refuse_secrets({"config": {"name": "canary-0123"}}, environ)
