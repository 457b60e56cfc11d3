"""Log-probabilities of continuations under an encoder-decoder: the context is read once, each continuation is what the decoder would write.

As lm-evaluation-harness 0.4.13 (models/huggingface.py, _loglikelihood_tokens with backend seq2seq): the decoder gets its start token and the
continuation but its last token.

Shapes: C contexts, B continuations, L and T padded lengths, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raybench.engines.items import Item, Score
from raybench.engines.net import MAX_LOGITS, batches


def score(model: Any, items: Sequence[Item], *, start_id: int, pad_id: int, budget: int) -> list[list[Score]]:
    """Scores of the continuations of each item, in order.

    Args:
        model: An encoder-decoder of transformers, in evaluation mode.
        items: Contexts for the encoder, continuations for the decoder.
        start_id: First token of the decoder.
        pad_id: Fills rows up.
        budget: Most padded tokens of one forward pass.
    """
    found: list[list[Score]] = [[] for _ in items]
    for members in batches([len(item.context) for item in items], budget=budget):
        states, mask = _read(model, [list(items[i].context) for i in members], pad_id)
        pairs = [(k, j) for k, i in enumerate(members) for j in range(len(items[i].continuations))]
        tokens = [list(items[members[k]].continuations[j]) for k, j in pairs]
        scores: list[Score | None] = [None] * len(pairs)
        # a decoder row reads the states of its context as well
        room = max(1, budget // max(1, states.shape[1]))
        widest = max(map(len, tokens), default=1)
        most = max(1, min(room, MAX_LOGITS // (model.config.get_text_config().vocab_size * max(1, widest))))
        for rows in batches([len(t) for t in tokens], budget=budget, most_rows=most):
            at = [pairs[r][0] for r in rows]
            for r, one in zip(rows, _write(model, states[at], mask[at], [tokens[r] for r in rows], start_id, pad_id), strict=True):
                scores[r] = one
        for (k, _), one_score in zip(pairs, scores, strict=True):
            assert one_score is not None, "a continuation was left out of the batches"
            found[members[k]].append(one_score)
    return found


def _read(model: Any, contexts: Sequence[list[int]], pad_id: int) -> tuple[Any, Any]:
    """Encoder states [C, L, D] and their mask [C, L]."""
    import torch

    width = max(map(len, contexts))
    ids = torch.tensor([c + [pad_id] * (width - len(c)) for c in contexts], device=model.device)
    mask = torch.tensor([[1] * len(c) + [0] * (width - len(c)) for c in contexts], device=model.device)
    with torch.inference_mode():
        return model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state, mask


def _write(model: Any, states: Any, mask: Any, tokens: Sequence[list[int]], start_id: int, pad_id: int) -> list[Score]:
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    width = max(map(len, tokens))
    # padding stands behind and needs no mask: no token sees what comes after it
    inputs = torch.tensor([[start_id, *t[:-1]] + [pad_id] * (width - len(t)) for t in tokens], device=model.device)
    wanted = torch.tensor([t + [pad_id] * (width - len(t)) for t in tokens], device=model.device)
    with torch.inference_mode():
        logits_BTV = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states), attention_mask=mask, decoder_input_ids=inputs, use_cache=False
        ).logits.float()
        is_best = (logits_BTV.argmax(-1) == wanted).tolist()
        chosen = logits_BTV.log_softmax(-1).gather(-1, wanted[..., None])[..., 0].tolist()
    return [Score(logprobs=tuple(chosen[b][: len(t)]), is_greedy=all(is_best[b][: len(t)])) for b, t in enumerate(tokens)]
