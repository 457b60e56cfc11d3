"""Measurements: `python -m tests.bench [NAME ...]`, or `make bench` for all. Each prints hardware, versions and figures."""

import sys

RUN_ALONE = ("vllm", "vllm_gpu")
"""Need an environment of their own: `python -m tests.bench.vllm`."""

if sys.argv[0] == "-m":  # Python is on its way to the module that it was asked to run, which may define things and do nothing
    _, _, _name = next((word for word in sys.orig_argv if word.startswith("tests.bench")), "").partition("tests.bench.")
    if _name and _name not in (*RUN_ALONE, "__main__"):
        sys.exit(f"tests.bench.{_name} does nothing by itself; to measure: python -m tests.bench NAME, such as likelihood.")
