"""Train both models of models.py to mirror strings, abcd|dcba, in under a minute on two cores.

    python configs/scratch/train.py out/scratch
    raybench run configs/scratch/scratch.yaml

Writes into the folder:

    causal-<step>.pt          state of the causal model
    masked-<step>.pt          state of the masked model
    tokenizer/                one token a character
    mirror.jsonl              200 strings that are never trained on: {"id": "bgah", "prompt": "bgah|", "answer": "hagb"}
    mirror_fill.jsonl         the same with a hole: {..., "prompt": "bgah|h[MASK]gb", "choices": ["a", ..., "h"], "answer": "a"}

The same seed, steps, library versions and kind of processor give the same files.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LETTERS = "abcdefgh"
HALF = 4
SPECIAL = ["<pad>", "<s>", "</s>", "[MASK]"]
NUM_HELD_OUT = 200
BATCH = 128
LEARNING_RATE = 3e-3
MASK_SHARE = 0.25
THREADS = 1
"""Fixed, since it can change a sum."""


def main(arguments: list[str] | None = None) -> int:
    """Train, save, say where."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for weights, tokenizer and problems")
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 600], help="steps at which weights are kept")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and the held-out strings")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    halves = ["".join(letters) for letters in itertools.product(LETTERS, repeat=HALF)]
    random.Random(options.seed).shuffle(halves)
    tokenizer = make_tokenizer()
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(options.out / "tokenizer")
    write_problems(options.out, halves[:NUM_HELD_OUT], options.seed)
    for kind in ("causal", "masked"):
        train(options.out, kind, tokenizer, halves[NUM_HELD_OUT:], sorted(set(options.steps)), options.seed)
    sys.stderr.write(f"weights, tokenizer and problems in {options.out}, {time.monotonic() - begin:.1f} s\n")
    return 0


def write_problems(out: Path, halves: list[str], seed: int) -> None:
    """Both files of problems."""
    draw = random.Random(seed + 1)
    whole, holes = [], []
    for half in halves:
        mirror = half[::-1]
        place = draw.randrange(HALF)
        whole.append({"id": half, "prompt": f"{half}|", "answer": mirror})
        text = f"{half}|{mirror[:place]}[MASK]{mirror[place + 1 :]}"
        holes.append({"id": half, "prompt": text, "choices": list(LETTERS), "answer": mirror[place]})
    for name, rows in (("mirror.jsonl", whole), ("mirror_fill.jsonl", holes)):
        (out / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def train(out: Path, kind: str, tokenizer: Any, halves: list[str], steps: list[int], seed: int) -> None:
    """Train to the last step and save the weights at each of `steps`."""
    import torch

    sys.path.insert(0, str(ROOT))
    from configs.scratch import models

    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    model = getattr(models, kind)(vocabulary=len(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    ends = ["<s>", "</s>"] if kind == "causal" else ["", ""]
    texts = [f"{ends[0]}{half}|{half[::-1]}{ends[1]}" for half in halves]
    tokens_PL = torch.tensor([tokenizer.encode(text, add_special_tokens=False) for text in texts])  # [strings, length]
    draw = torch.Generator().manual_seed(seed)
    for step in range(1, steps[-1] + 1):
        batch_BL = tokens_PL[torch.randint(len(tokens_PL), (BATCH,), generator=draw)]
        if kind == "causal":
            inputs, targets, is_scored = batch_BL[:, :-1], batch_BL[:, 1:], torch.ones_like(batch_BL[:, 1:], dtype=torch.bool)
            is_scored[:, :HALF] = False  # the first half is drawn: nothing to learn
        else:
            is_scored = torch.rand(batch_BL.shape, generator=draw) < MASK_SHARE
            inputs, targets = batch_BL.masked_fill(is_scored, tokenizer.mask_token_id), batch_BL
        logits_BLV = model(inputs, torch.ones_like(inputs))
        loss = torch.nn.functional.cross_entropy(logits_BLV[is_scored], targets[is_scored])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        optimizer.step()
        if step in steps:
            torch.save(model.state_dict(), out / f"{kind}-{step}.pt")
            sys.stderr.write(f"{kind}, step {step}: loss {loss.item():.3f}\n")


def make_tokenizer() -> Any:
    """One token a character, `<s>` in front; spaces are dropped: a prompt may put one between question and answer."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate([*SPECIAL, *LETTERS, "|"])}, unk_token="<pad>"))
    core.normalizer = normalizers.Replace(" ", "")
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    pad, begin, end, mask = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=pad, bos_token=begin, eos_token=end, mask_token=mask, unk_token=pad,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
