"""Run measurements by name; each in a process of its own, so that none disturbs the next."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path

from raybench.driver.environment import versions

NAMES = (
    "startup",
    "simulation",
    "gather",
    "memory",
    "resume",
    "object_store",
    "planning",
    "latency",
    "failure",
    "encoders",
    "generate",
    "likelihood",
    "lm_eval_tasks",
    "scaling",
)
WITH_OPTIONS = ("generate", "likelihood")
"""Take options of their own behind the name."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parsed, options = parser.parse_known_args()
    names = parsed.names or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no measurement {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if options and not (len(names) == 1 and names[0] in WITH_OPTIONS):
        parser.error(f"{' '.join(options)}: options are only for {' or '.join(WITH_OPTIONS)}, run alone")
    cpu = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    print(f"# {cpu}, {os.cpu_count()} cores; " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    failed = []
    for name in names:
        module = importlib.import_module(f"tests.bench.{name}")
        print(f"\n## {name}: {(module.__doc__ or '').strip().splitlines()[0]}", flush=True)
        if subprocess.run([sys.executable, "-c", f"import tests.bench.{name} as bench; bench.main()", *options], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
