"""Answers of encoder-decoders, by transformers' own `generate`: greedy, drawn, or by beam search.

Its GenerationConfig is made here from the request's sampling alone. Of the checkpoint's generation_config only what belongs to the
architecture is kept: which tokens begin, end and fill an answer, the language that is forced first, tokens that are no words (Marian's padding).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from raybench.core.types import Sampling
from raybench.engines.answer import stop_window
from raybench.engines.net import batches

_OF_ARCHITECTURE = ("decoder_start_token_id", "bos_token_id", "pad_token_id", "forced_bos_token_id", "bad_words_ids")


@dataclass(slots=True, kw_only=True, eq=False)
class Writing:
    """One prompt and what is written to it."""

    ids: list[int]
    sampling: Sampling
    seed: int | None
    """Where something is drawn."""
    answers: list[list[int]] = field(default_factory=list)
    """Tokens of each hypothesis, best first, without start and end tokens; empty: the logits were not finite."""
    is_ended: bool = False
    """Whether the first ends by an end token."""
    num_new: int = 0
    """Tokens of the first, with its end token."""


class Writer:
    """Writes answers with one model."""

    def __init__(self, model: Any, *, decode: Callable[[Sequence[int]], str]) -> None:
        """Take a model in evaluation mode; its own generation_config is emptied, since `generate` fills gaps from it.

        Args:
            model: Of transformers, on its device.
            decode: Tokens to text, for stop strings.
        """
        from transformers import GenerationConfig

        own, config = model.generation_config, model.config
        kept = {name: _first(getattr(own, name, None), getattr(config, name, None)) for name in _OF_ARCHITECTURE}
        self._kept = {name: value for name, value in kept.items() if value is not None}
        self.eos: frozenset[int] = frozenset()
        """Tokens that end an answer."""
        self._model = model
        self._decode = decode
        model.generation_config = GenerationConfig()

    def run(self, rows: Sequence[Writing], *, budget: int) -> None:
        """Fill in the answers, in batches that depend on the rows alone; drawn ones one by one, each with its own seed.

        Args:
            rows: What is asked.
            budget: Most tokens of prompts, answers and all hypotheses that run together.
        """
        import torch

        for sampling in dict.fromkeys(r.sampling for r in rows):
            mine = [r for r in rows if r.sampling == sampling]
            if sampling.temperature > 0:
                devices = [self._model.device] if self._model.device.type == "cuda" else []
                for row in mine:
                    with torch.random.fork_rng(devices=devices):  # generate draws from the global generator, which is put back behind it
                        torch.manual_seed(row.seed or 0)
                        self._batch([row], sampling)
                continue
            lengths = [(len(r.ids) + sampling.max_tokens) * sampling.num_beams for r in mine]
            for members in batches(lengths, budget=budget):
                self._batch([mine[i] for i in members], sampling)

    def _batch(self, rows: Sequence[Writing], sampling: Sampling) -> None:
        import torch

        device, pad = self._model.device, self._kept.get("pad_token_id", 0)
        width = max(len(r.ids) for r in rows)
        ids = torch.tensor([r.ids + [pad] * (width - len(r.ids)) for r in rows], device=device)
        mask = torch.tensor([[1] * len(r.ids) + [0] * (width - len(r.ids)) for r in rows], device=device)
        watch = _Watch()
        stops = [self._is_stopped(sampling)] if any(sampling.stop) and sampling.num_beams == 1 else []
        with torch.inference_mode():
            found = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=self.config(sampling),
                logits_processor=[watch],
                stopping_criteria=stops,
            )
        sequences = found[:, 1:].tolist()  # without the start token
        each = sampling.num_return_sequences
        num_live = sampling.num_beams  # rows of the decoder for each prompt
        for b, row in enumerate(rows):
            if any(watch.is_broken[b * num_live : (b + 1) * num_live]):
                continue
            row.answers = [self._cut(s) for s in sequences[b * each : (b + 1) * each]]
            row.is_ended = any(t in self.eos for t in sequences[b * each])
            row.num_new = len(row.answers[0]) + row.is_ended

    def config(self, sampling: Sampling) -> Any:
        """The GenerationConfig that stands for a sampling, and for nothing else."""
        from transformers import GenerationConfig

        options: dict[str, Any] = {
            "max_new_tokens": sampling.max_tokens,
            "num_beams": sampling.num_beams,
            "num_return_sequences": sampling.num_return_sequences,
            "repetition_penalty": sampling.repetition_penalty,
            "no_repeat_ngram_size": sampling.no_repeat_ngram_size,
            "do_sample": sampling.temperature > 0,
        }
        if sampling.num_beams > 1:
            options |= {"length_penalty": sampling.length_penalty, "early_stopping": sampling.early_stopping}
        if sampling.temperature > 0:
            # 0 switches top-k off; left out, it would be 50
            options |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k or 0}
            if sampling.min_p > 0:
                options["min_p"] = sampling.min_p
        return GenerationConfig(**options, **self._kept, eos_token_id=sorted(self.eos) or None)

    def _cut(self, tokens: list[int]) -> list[int]:
        end = next((k for k, t in enumerate(tokens) if t in self.eos), len(tokens))
        return tokens[:end]

    def _is_stopped(self, sampling: Sampling) -> Callable[..., Any]:
        """A stopping criterion: rows in whose last tokens a stop string has just been completed."""
        import torch

        window = stop_window(sampling.stop)

        def is_stopped(input_ids: Any, scores: Any, **_: Any) -> Any:
            tails = [self._decode(row[-window:]) for row in input_ids[:, 1:].tolist()]
            return torch.tensor([any(s and s in tail for s in sampling.stop) for tail in tails], device=input_ids.device)

        return is_stopped


class _Watch:
    """A logits processor that notes rows without a distribution, and keeps the others going."""

    def __init__(self) -> None:
        self.is_broken: list[bool] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        bad = ~scores.amax(-1).isfinite()
        now = bad.tolist()
        self.is_broken = [a or b for a, b in zip(self.is_broken, now, strict=True)] if self.is_broken else now
        return scores.masked_fill(bad[:, None], 0.0)


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)
