"""Planning a sweep of 50 models and 100 tasks."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from raybench.driver.survey import plan_run
from tests.bench.workload import config, write_rows


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        survey_config = config(folder, write_rows(folder, 1_000), models=50, tasks=100)
        begin = time.perf_counter()
        survey = plan_run(survey_config)
        seconds = time.perf_counter() - begin
        print(f"50 models x 100 tasks of 1,000 samples: {survey.plan.num_shards:,} shards in {seconds:.1f} s (aim: 30)")
