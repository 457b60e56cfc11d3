"""Train a tiny Llama on two-digit addition and keep its checkpoints: a sweep of real models in under a minute on two cores.

    python configs/sweeps/train_ladder.py out/ladder
    raybench run configs/sweeps/ladder.yaml

Writes into the folder:

    checkpoint-<step>/        as save_pretrained writes it: config.json, model.safetensors, tokenizer.json
    addition.jsonl            300 problems that are never trained on: {"id": "07+42", "prompt": "07+42=", "answer": "49"}
    addition_choice.jsonl     the same problems with four options: {..., "choices": ["47", "49", "59", "50"], "label": 1}

The same seed, steps, library versions and kind of processor give the same files.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

SPARE = "<s>"
CHARACTERS = "0123456789+=$"
"""One token each; with the spare one (begin, padding, unknown) a vocabulary of 14."""
OPERANDS = 50
"""Both lie in [0, 50), so that every sum has two digits."""
NUM_HELD_OUT = 300
NUM_OPTIONS = 4
BATCH = 128
LEARNING_RATE = 3e-3
ANSWER_AT = len("07+42=")
"""Position of the first digit of the answer."""
THREADS = 1
"""Fixed, since it can change a sum; more would wait for each other longer than they compute."""


def main(arguments: list[str] | None = None) -> int:
    """Train, save, say where."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for checkpoints and problems")
    parser.add_argument("--steps", type=_steps, default="1,100,300,600,1000", help="steps at which a checkpoint is kept")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and the held-out problems")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    train, held_out = split_problems(options.seed)
    write_problems(options.out, held_out, options.seed)
    train_ladder(options.out, train, options.steps, options.seed)
    sys.stderr.write(f"{len(options.steps)} checkpoints in {options.out}, {time.monotonic() - begin:.1f} s\n")
    return 0


def split_problems(seed: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """All pairs of operands, shuffled: those to train on, and those held out."""
    pairs = [(a, b) for a in range(OPERANDS) for b in range(OPERANDS)]
    random.Random(seed).shuffle(pairs)
    return pairs[NUM_HELD_OUT:], pairs[:NUM_HELD_OUT]


def write_problems(out: Path, pairs: list[tuple[int, int]], seed: int) -> None:
    """Both files of problems; the wrong options are near misses: off by one, by two, by ten."""
    out.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed + 1)
    plain, with_options = [], []
    for a, b in pairs:
        problem = {"id": f"{a:02}+{b:02}", "prompt": f"{a:02}+{b:02}="}
        near = sorted({a + b + d for d in (-10, -2, -1, 1, 2, 10)} & set(range(2 * OPERANDS)))
        choices = [a + b, *draw.sample(near, NUM_OPTIONS - 1)]
        draw.shuffle(choices)
        plain.append({**problem, "answer": f"{a + b:02}"})
        with_options.append({**problem, "choices": [f"{c:02}" for c in choices], "label": choices.index(a + b)})
    for name, rows in (("addition.jsonl", plain), ("addition_choice.jsonl", with_options)):
        (out / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def train_ladder(out: Path, pairs: list[tuple[int, int]], steps: list[int], seed: int) -> None:
    """Train to the last step and save a checkpoint at each of `steps`; the loss counts the answer alone."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    tokenizer, model = make_tokenizer(), make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    tokens_PL = torch.tensor([tokenizer.encode(f"{a:02}+{b:02}={a + b:02}$") for a, b in pairs])  # [problems, length]
    draw = torch.Generator().manual_seed(seed)
    for step in range(1, steps[-1] + 1):
        batch_BL = tokens_PL[torch.randint(len(tokens_PL), (BATCH,), generator=draw)]
        logits_BLV = model(input_ids=batch_BL[:, :-1], use_cache=False).logits[:, ANSWER_AT - 1 :]
        loss = torch.nn.functional.cross_entropy(logits_BLV.flatten(0, 1), batch_BL[:, ANSWER_AT:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        optimizer.step()
        if step in steps:
            folder = out / f"checkpoint-{step}"
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            sys.stderr.write(f"step {step}: loss {loss.item():.3f}: {folder}\n")


def make_tokenizer() -> Any:
    """One token a character. Spaces are dropped: a prompt may put one between question and answer."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate([SPARE, *CHARACTERS])}, unk_token=SPARE))
    core.normalizer = normalizers.Replace(" ", "")
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=SPARE, eos_token=SPARE, unk_token=SPARE, pad_token=SPARE)


def make_model() -> Any:
    """75,000 parameters, the output layer tied to the embedding."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1 + len(CHARACTERS), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=0,
        )
    )  # fmt: skip


def _steps(text: str) -> list[int]:
    try:
        steps = sorted({int(part) for part in text.split(",")})
    except ValueError:
        steps = []
    if not steps or steps[0] < 1:
        raise argparse.ArgumentTypeError(f"'{text}': expected numbers of at least 1, separated by commas")
    return steps


if __name__ == "__main__":
    sys.exit(main())
