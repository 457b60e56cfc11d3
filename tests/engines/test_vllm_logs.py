"""The log of a live vLLM and its folder."""

from __future__ import annotations

import json
import logging.config
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from raybench.engines.vllm_logs import LogFolder, write_log_config


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory without the logs of other tests' engines."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def folders(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if p.is_dir())


def test_the_log_configuration_is_one_that_python_takes() -> None:
    folder = LogFolder()

    logging.config.dictConfig(json.loads(write_log_config(folder).read_text()))
    logging.getLogger("vllm.worker").error("it broke")
    for handler in logging.getLogger("vllm").handlers:
        handler.close()
    logging.getLogger("vllm").handlers.clear()

    assert "it broke" in folder.log.read_text()
    folder.close()


def test_a_folder_goes_with_its_engine(own_folder: Path) -> None:
    folder = LogFolder()
    assert folders(own_folder) == [folder.path.name]

    folder.close()

    assert folders(own_folder) == []


def test_what_a_killed_process_left_is_removed_at_the_next_start_and_what_lives_stays(own_folder: Path) -> None:
    mine = LogFolder()
    code = "from raybench.engines.vllm_logs import LogFolder; import time; f = LogFolder(); print(f.path, flush=True); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(own_folder)}
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        both = folders(own_folder)
        other.send_signal(signal.SIGKILL)
        other.wait()
    (own_folder / "raybench-of-somebody-else").mkdir()

    next_one = LogFolder()

    assert both == sorted([mine.path.name, theirs.name])
    assert folders(own_folder) == sorted([mine.path.name, next_one.path.name, "raybench-of-somebody-else"])
    mine.close()
    next_one.close()
