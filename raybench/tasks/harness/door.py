"""The one way to the harness: whether it is installed, and a quiet place to run its code in."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from typing import Any

import numpy as np

from raybench.core.errors import ConfigError

PREFIX = "lm-eval/"
"""Begins the names of the harness's tasks and groups in a configuration."""
SUPPORTED = "0.4.13"
"""The version whose inner parts the adapter knows."""


def check_installed() -> None:
    """Refuse to go on without the harness.

    Raises:
        ConfigError: when it is missing, or another version.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(f"tasks: '{PREFIX}...' needs lm-evaluation-harness, which is not installed: pip install 'raybench[lm-eval]'.")
    if (found := version()) != SUPPORTED:
        raise ConfigError(f"tasks: '{PREFIX}...' needs lm-eval {SUPPORTED}, {found} is installed: pip install 'raybench[lm-eval]'.")


def version() -> str:
    """Of the installed harness."""
    return importlib.metadata.version("lm_eval")


@contextmanager
def quietly() -> Iterator[None]:
    """Run the harness's code: what it prints goes to stderr, its warnings nowhere, and its bootstrap stays in this process.

    Its bootstrap would fork a process that has threads; the draws are the same (api/metrics.py, bootstrap_stderr). Its templates are
    compiled once each, and not for every document (utils.py, apply_template), which is most of the time that it takes to build requests.
    """
    from lm_eval.utils import env

    logger = logging.getLogger("lm_eval")
    level, before = logger.level, os.environ.get("DISABLE_MULTIPROC")
    logger.setLevel(logging.ERROR)
    os.environ["DISABLE_MULTIPROC"] = "1"
    env.from_string = _template
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        vars(env).pop("from_string", None)  # the class has its own
        logger.setLevel(level)
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before


@lru_cache(maxsize=1024)
def _template(source: str) -> Any:
    from lm_eval.utils import env

    return type(env).from_string(env, source)


@contextmanager
def seeded() -> Iterator[None]:
    """Seed the global generators as the harness does before it loads tasks (evaluator.py, simple_evaluate), for each task alike; puts them back."""
    before = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(1234)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
