"""The same prompts by ray.data.llm and by a raybench run on one Ray actor: both with the start of their engine and without."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from raybench.core.config_file import parse
from raybench.driver.run import run
from raybench.store.run_dir import RunDir
from tests.bench.vllm_subject import Subject, generation_task, gsm8k, write_rows
from tests.driver.runs import Together

BATCH = 64
LOGICAL_CPUS = 8
"""Each of ray.data.llm's four stages wants at least one."""


def raydata(subject: Subject, num_prompts: int, max_tokens: int) -> None:
    """ray.data.llm first, in a cluster of its own; its engine is started with every data set, so a set of one prompt is taken off."""
    questions = gsm8k(num_prompts)
    begin = time.perf_counter()
    start, _ = _by_ray_data(subject, questions[:1], 1)
    whole, theirs = _by_ray_data(subject, questions, max_tokens)
    with tempfile.TemporaryDirectory() as folder:
        rows = write_rows(Path(folder) / "rows.jsonl", [{"id": f"{i:05}", "question": q, "answer": "-"} for i, q in enumerate(questions)])
        config = {
            "name": "bench",
            "models": [{"checkpoint": subject.uri, "chat_template": "auto"}],
            "tasks": [generation_task(rows, max_tokens=max_tokens, shard_size=max(1, num_prompts // 8))],
            "engine": {"kind": "vllm", **subject.engine_block()},
            "resources": {"engines": 1, "cpus_per_engine": 1, "gpus_per_engine": 0 if subject.device == "cpu" else 1},
            "pool": "ray",
            "bootstrap": 0,
            "output": f"{folder}/run",
        }
        begin = time.perf_counter()
        report = run(parse(config), pool=Together(1))
        mine = time.perf_counter() - begin
        if report.exit_code:
            raise SystemExit(f"raybench: {report.problems}")
        told = RunDir.open(report.path).telemetry().to_pylist()
    ours = sum(r["num_output_tokens"] for r in told)
    busy = max(r["started"] + r["seconds"] for r in told) - min(r["started"] for r in told)
    rates = theirs / max(whole - start, 1e-9), ours / busy
    print(f"raydata: {num_prompts} chat prompts; new tokens: ray.data.llm {theirs}, raybench {ours}")
    print(f"  with everything: ray.data.llm {whole:.1f} s, raybench {mine:.1f} s: {whole / mine:.2f} times as fast")
    print(
        f"  without the start: ray.data.llm {rates[0]:.0f} tokens/s, raybench {rates[1]:.0f} tokens/s: {rates[1] / rates[0]:.2f} times as fast"
    )


def _by_ray_data(subject: Subject, questions: list[str], max_tokens: int) -> tuple[float, int]:
    """Seconds with the start of the engine, and new tokens."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    from raybench.engines.pytorch_load import folder_of

    ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=LOGICAL_CPUS)
    variables = {k: v for k, v in os.environ.items() if k.startswith(("VLLM_", "HF_", "OMP_"))}
    # without a GPU in its placement group; the metrics of its engine would need ray[serve]
    device: dict[str, Any] = {"placement_group_config": {"bundles": [{"CPU": 2}]}} if subject.device == "cpu" else {}
    config = vLLMEngineProcessorConfig(
        model_source=str(folder_of(subject.checkpoint())), concurrency=1, batch_size=BATCH, engine_kwargs=subject.raw(),
        runtime_env={"env_vars": variables}, log_engine_metrics=False, **device,
    )  # fmt: skip
    processor = build_processor(
        config,
        preprocess=lambda row: {
            "messages": [{"role": "user", "content": row["question"]}],
            "sampling_params": {"temperature": 0, "max_tokens": max_tokens},
        },
        postprocess=lambda row: {"n": row["num_generated_tokens"]},
    )
    begin = time.perf_counter()
    rows = processor(ray.data.from_items([{"question": q} for q in questions])).take_all()
    seconds = time.perf_counter() - begin
    ray.shutdown()
    return seconds, sum(row["n"] for row in rows)
