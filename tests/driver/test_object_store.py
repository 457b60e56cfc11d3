"""Runs whose home is an object store: a real S3 server, the same numbers, kills and second writers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import EngineError, IncompleteError, RunError
from raybench.driver.pool import here
from raybench.driver.prepare import prepare
from raybench.driver.run import Silent, committed, run
from raybench.driver.status import read_status
from raybench.store import lease
from raybench.store.objects import Objects
from raybench.store.run_dir import RunDir
from raybench.store.verify import content_sha256, verify
from tests.driver.runs import ROOT, command, content_rows, fake_config, results_of, wait_for, write_config

SHORT = "from raybench.store import lease; lease.LENGTH_S = 1.0; from raybench.cli.main import main; main()"


def shards_of(uri: str) -> list[str]:
    """Shards in objects of their own."""
    return [name for name in Objects(uri).names("predictions") if name.count("/") == 3]


def test_a_run_there_has_the_files_and_numbers_of_one_here(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = fake_config(tmp_path / "here"), f"{bucket}/runs/there"
    run(here)

    report = run(here.model_copy(update={"output": there}))

    assert report.exit_code == 0
    assert (report.name, results_of(report.path)) == (there, results_of(tmp_path / "here"))
    names = {path.relative_to(tmp_path / "here").as_posix() for path in (tmp_path / "here").rglob("*") if path.is_file()}
    assert set(Objects(there).names()) == names - {"lock"} | {"lease/000001.json"}
    assert verify(RunDir.open(there)) == []
    assert content_sha256(RunDir.open(there)) == content_sha256(RunDir.open(tmp_path / "here"))
    assert RunDir.open(there).copy_to(tmp_path / "fetched") == len(names) - 1
    assert content_rows(tmp_path / "fetched") == content_rows(tmp_path / "here")


def test_the_commands_read_a_run_there(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"{bucket}/run"
    path = write_config(tmp_path, fake_config(tmp_path / "x"))
    assert command(monkeypatch, "run", path, "--output", uri, "--json") == 0
    printed = capsys.readouterr()
    assert uri in printed.err

    assert command(monkeypatch, "score", uri, "--json") == 0
    assert capsys.readouterr().out == printed.out
    assert command(monkeypatch, "status", uri, "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "complete"
    assert command(monkeypatch, "report", uri, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(printed.out)
    assert command(monkeypatch, "samples", uri, "--task", "quickstart/choice", "-n", "2", "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert command(monkeypatch, "verify", uri) == 0
    assert "content sha256" in capsys.readouterr().out
    assert command(monkeypatch, "status", f"{bucket}/elsewhere") == 2
    assert f"{bucket}/elsewhere: this is no run directory" in capsys.readouterr().err


@pytest.mark.slow
def test_a_driver_that_is_killed_is_resumed_to_the_same_rows(bucket: str, tmp_path: Path) -> None:
    tasks = [{"name": "quickstart/choice", "limit": 48, "shard_size": 2}]
    config = fake_config(tmp_path / "here", tasks=tasks, engine={"shard_s": 0.1})
    uri = f"{bucket}/run"
    there = config.model_copy(update={"output": uri})
    killed = subprocess.Popen(
        [sys.executable, "-c", SHORT, "run", write_config(tmp_path, there)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    wait_for(lambda: len(shards_of(uri)) >= 5, killed)

    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    left = len(shards_of(uri))
    status = read_status(uri)
    report = run(there)
    run(config)

    assert 5 <= left < 24
    assert (status.done, status.total) == (2 * left, 48)
    assert (report.exit_code, report.num_resumed) == (0, 2 * left)
    assert shards_of(uri) == []  # compacted
    assert verify(RunDir.open(uri)) == []
    assert content_sha256(RunDir.open(uri)) == content_sha256(RunDir.open(tmp_path / "here"))
    assert results_of(report.path) == results_of(tmp_path / "here")


def test_resuming_reads_names_and_no_shard(bucket: str, tmp_path: Path) -> None:
    uri = f"{bucket}/run"
    config = fake_config(tmp_path / "x").model_copy(update={"output": uri})
    run(config)
    there = RunDir.open(uri)
    (task, model), *_ = there.pairs()
    files = there.shard_files(task, model)
    batches = [(info.mark, there.read(task, model, name)) for name, info in files.scan().shards.items()]
    with there.lock(started=0.0):
        files.home.remove([files.compacted])
        for mark, batch in batches:
            files.commit(batch, mark)
    store = RunDir.at(uri)

    with store.lock(started=0.0):
        plan = prepare(config, store, has_gpus=False).plan
        done = committed(store, plan)

    assert done == set(range(6))
    assert not (store.path / "predictions").exists()
    assert run(config).num_resumed == 48


def test_a_shard_that_is_damaged_there_is_named_set_aside_and_run_again(bucket: str, tmp_path: Path) -> None:
    uri = f"{bucket}/run"
    config = fake_config(tmp_path / "x").model_copy(update={"output": uri})
    whole = content_sha256(RunDir(run(config).path))
    objects = Objects(uri)
    (name,) = [name for name in objects.names("predictions") if name.endswith(".parquet")]
    data = bytearray(objects.read(name))
    data[len(data) // 3] ^= 1
    objects.put(name, bytes(data))

    assert len(verify(RunDir.open(uri))) >= 1
    assert f"{uri}/{name}" in verify(RunDir.open(uri))[0]
    first = run(config)
    second = run(config)

    assert (first.exit_code, second.exit_code) == (3, 0)
    assert [n for n in objects.names() if n.startswith("damaged/")] != []
    assert content_sha256(RunDir.open(uri)) == whole


def test_a_second_writer_there_is_refused_and_nothing_is_moved(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LENGTH_S", 1.0)
    uri = f"{bucket}/run"
    config = fake_config(tmp_path / "x").model_copy(update={"output": uri})
    run(config)
    before = Objects(uri).names("predictions")

    with RunDir.at(uri).lock(started=0.0):
        for new in (False, True):
            with pytest.raises(RunError, match="in use by pid"):
                run(config, new=new)
        assert read_status(uri).state == "running"

    assert Objects(uri).names("predictions") == before


def test_new_moves_a_run_there_aside_and_reuse_takes_its_shards(bucket: str, tmp_path: Path) -> None:
    uri = f"{bucket}/run"
    config = fake_config(tmp_path / "x").model_copy(update={"output": uri})
    run(config)

    report = run(config, new=True, reuse=[f"{uri}.old-1"])

    assert report.num_resumed == 48
    assert content_sha256(RunDir.open(f"{uri}.old-1")) == content_sha256(RunDir.open(uri))


def test_a_writer_that_has_lost_the_run_overwrites_nothing(bucket: str, tmp_path: Path) -> None:
    config = fake_config(tmp_path / "x").model_copy(update={"output": f"{bucket}/run"})

    def lose(total: int, done: int) -> AbstractContextManager[Silent]:
        Objects(f"{bucket}/run").put("lease/000002.json", b'{"state": "held"}')  # somebody else, while this process slept
        return nullcontext(Silent())

    with pytest.raises(IncompleteError, match="another process has taken the run over"):
        run(config, watch=lose)

    assert {"state.json", "results.json"}.isdisjoint(Objects(f"{bucket}/run").names())


def test_a_folder_of_something_else_is_not_written_to(bucket: str, tmp_path: Path) -> None:
    Objects(f"{bucket}/photos").put("holiday.jpg", b"")

    with pytest.raises(RunError, match="not a run directory and not empty: it holds 'holiday"):
        run(fake_config(tmp_path / "x").model_copy(update={"output": f"{bucket}/photos"}))

    assert Objects(f"{bucket}/photos").names() == ["holiday.jpg"]


def test_a_checkpoint_there_gives_the_rows_of_the_same_folder_here(bucket: str, tiny_llama: Path, tmp_path: Path) -> None:
    for path in tiny_llama.iterdir():
        Objects(f"{bucket}/models/tiny-llama").put(path.name, path)
    tasks = [{"name": "quickstart/choice", "limit": 8, "shard_size": 4}]
    engine = {"kind": "pytorch", "dtype": "float32", "device": "cpu", "threads": 1}
    local, remote = (
        fake_config(tmp_path / name, models=[{"checkpoint": uri, "name": "one"}], tasks=tasks, engine=engine)
        for name, uri in (("here", str(tiny_llama)), ("there", f"{bucket}/models/tiny-llama"))
    )

    assert run(local).exit_code == run(remote).exit_code == 0

    assert content_sha256(RunDir.open(tmp_path / "there")) == content_sha256(RunDir.open(tmp_path / "here"))


def test_an_engine_on_a_machine_without_the_folder_says_what_to_do(tmp_path: Path) -> None:
    checkpoint = Checkpoint(uri="./mine", path=str(tmp_path / "mine"), identity="x")

    with pytest.raises(EngineError, match=r"has no .*mine\. Put the checkpoint on an object store"):
        here(checkpoint)

    assert here(replace(checkpoint, revision="a" * 40)).path is None  # the hub's cache of that machine brings it
    assert here(replace(checkpoint, path=str(tmp_path))).path == str(tmp_path)
