"""The signature: one line that says what a number is a number of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config_file import parse
from raybench.core.version import VERSION
from raybench.driver.run import run
from raybench.driver.signature import numerics_of
from raybench.store.shard_mark import ShardMark


def signatures(folder: Path, task: dict[str, Any], **changes: Any) -> list[str]:
    base: dict[str, Any] = {"name": "s", "models": ["m"], "engine": {"kind": "fake"}, "pool": "local", "bootstrap": 0}
    report = run(parse({**base, "output": str(folder / "run"), "tasks": [task], **changes}))
    return [r.signature for r in report.results.results]


def parts(signature: str) -> dict[str, str]:
    return dict(part.partition(":")[::2] for part in signature.split("|"))


def test_the_parts_stand_in_their_order(tmp_path: Path) -> None:
    (line,) = signatures(tmp_path, {"name": "quickstart/arithmetic", "limit": 8, "shots": 4})

    names = [part.partition(":")[0] for part in line.split("|")]
    assert names == [
        "task", "v", "form", "split", "data", "prompt", "shots", "chat", "n", "err", "trunc", "limit", "metric", "max_tokens", "temp",
        "engine", "device", "dtype", "seed", "repro", "raybench", "ci", "PARTIAL",
    ]  # fmt: skip
    found = parts(line)
    assert (found["task"], found["form"], found["shots"]) == ("quickstart/arithmetic", "generate", "4-first_n")
    assert (found["n"], found["err"], found["trunc"], found["limit"]) == ("8", "0", "0", "8")
    assert (found["engine"], found["device"], found["dtype"], found["repro"]) == ("fake", "cpu", "fp32", "exact")
    assert (found["temp"], found["chat"], found["seed"], found["raybench"]) == ("0", "no", "0", VERSION)
    assert re.fullmatch(r"[0-9a-f]{8}", found["data"])
    assert re.fullmatch(r"[0-9a-f]{8}", found["prompt"])


def test_a_likelihood_has_no_part_about_sampling(tmp_path: Path) -> None:
    acc, norm = signatures(tmp_path, {"name": "quickstart/choice"})

    assert not {"max_tokens", "temp", "limit", "repeats"} & set(parts(acc))
    assert (parts(acc)["metric"], parts(norm)["metric"]) == ("acc", "acc_norm")
    assert "PARTIAL" not in acc


def test_what_departs_from_the_neutral_value_is_told(tmp_path: Path) -> None:
    sampling = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "max_tokens": 9}

    (line,) = signatures(tmp_path, {"name": "quickstart/arithmetic", "repeats": 2, "shots": 0}, sampling=sampling, seed=5)

    found = parts(line)
    assert [found[n] for n in ("temp", "top_p", "top_k", "min_p", "rep", "max_tokens", "repeats", "seed")] == [
        "0.7", "0.9", "5", "0.1", "1.2", "9", "2", "5",
    ]  # fmt: skip
    assert found["shots"] == "0"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("prompt", {"task": {"name": "quickstart/arithmetic", "shots": 1}}),
        ("dtype", {"engine": {"kind": "fake", "dtype": "bfloat16"}}),
        ("chat", {"models": [{"checkpoint": "m", "chat_template": "auto"}]}),
        ("seed", {"seed": 1}),
        ("ci", {"bootstrap": 20}),
    ],
)
def test_a_changed_setting_changes_its_part(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    task = changes.pop("task", {"name": "quickstart/arithmetic"})

    (before,) = signatures(tmp_path / "before", {"name": "quickstart/arithmetic"})
    (after,) = signatures(tmp_path / "after", task, **changes)

    assert parts(after)[name] != parts(before)[name]


def test_equal_runs_in_other_places_have_equal_signatures(tmp_path: Path) -> None:
    task = {"name": "quickstart/arithmetic"}

    assert signatures(tmp_path / "a", task) == signatures(tmp_path / "b", task, models=[{"checkpoint": "m", "name": "other"}])


def test_a_sign_of_separation_in_a_value_does_not_make_a_part(tmp_path: Path) -> None:
    (line,) = signatures(tmp_path, {"name": "quickstart/arithmetic", "label": "a|err:0\nb"})

    assert parts(line)["task"] == "a/err:0 b"


def test_what_engines_told_of_their_kernels_stands_in_the_signature_and_mixed_machines_show(tiny_llama: Path, tmp_path: Path) -> None:
    engine = {"kind": "pytorch", "device": "cpu", "threads": 1}
    (plain, _), (eager, _) = (
        signatures(
            tmp_path / name, {"name": "quickstart/choice", "limit": 4, "shots": 0},
            models=[{"checkpoint": str(tiny_llama), "chat_template": "none"}], engine={**engine, "attn_implementation": name},
        )
        for name in ("auto", "eager")
    )  # fmt: skip

    # transformers takes sdpa for a Llama where nothing is asked for
    assert "|dtype:fp32|attn:sdpa|" in plain
    assert "|dtype:fp32|attn:eager|" in eager

    marks = [mark(attn="FLASH_ATTN", dtype="bfloat16"), mark(attn="FLASHINFER", dtype="bfloat16"), mark()]
    assert numerics_of(marks) == {"attn": "FLASHINFER+FLASH_ATTN", "dtype": "bfloat16"}


def mark(**numerics: str) -> ShardMark:
    return ShardMark(fingerprint="f", start=0, stop=1, num_rows=1, ids_digest="", content_digest="", numerics=numerics)
