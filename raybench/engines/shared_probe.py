"""Whether a decoder can generate with shared prefixes: measured once, on made-up tokens, against its own plain forward pass."""

from __future__ import annotations

import inspect
from typing import Any

from raybench.engines.key_values import Shelf, Table
from raybench.engines.prefix_tree import Node
from raybench.engines.shared_attention import SharedRun, Unsupported, Writing, attending
from raybench.engines.shared_generate import SharedGenerator

_NUM_PREFIX, _NUM_REST, _NUM_WRITTEN = 20, (7, 4), 3


def obstacle(model: Any) -> str | None:
    """Why `model` cannot generate with shared prefixes, in a few words; None where it can."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return "its positions cannot be given"
    if model.config._attn_implementation not in ("sdpa", "eager"):
        return f"its attention is '{model.config._attn_implementation}'"
    windows = _expected_windows(model)
    if isinstance(windows, str):
        return windows
    try:
        difference, asked = _measure(model)
    except Unsupported as error:
        return f"its attention uses {error}"
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        return f"its attention cannot be taken over ({type(error).__name__}: {str(error)[:100]})"
    if asked != windows:
        return "its sliding windows cannot be seen"
    # rounding in half precision is far below 0.1 nats a token; a mask or positions that are ignored are above
    allowed = 1e-3 if str(model.dtype) == "torch.float32" else 0.1
    return None if difference <= allowed else f"log-probabilities differ by {difference:.2g} on a probe"


def _expected_windows(model: Any) -> dict[int, int | None] | str:
    """Sliding window of each layer as the model's own cache has it."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    config = model.config.get_text_config()
    others = {str(t) for t in getattr(config, "layer_types", None) or ()} - {"full_attention", "sliding_attention"}
    if others:
        return f"it has layers of another kind ({', '.join(sorted(others))})"
    layers = DynamicCache(config=model.config).layers
    if not layers:
        layers = [DynamicLayer() for _ in range(config.num_hidden_layers)]
    windows: dict[int, int | None] = {}
    for index, layer in enumerate(layers):
        if type(layer) is DynamicLayer:
            windows[index] = None
        elif type(layer) is DynamicSlidingWindowLayer:
            windows[index] = int(layer.sliding_window)
        else:
            return f"it has layers of another kind ({type(layer).__name__})"
    return windows


def _measure(model: Any) -> tuple[float, dict[int, int | None]]:
    """Largest difference in log-probabilities to plain forward passes, where these are finite; and the windows that layers asked for."""
    import torch

    size = model.get_input_embeddings().num_embeddings
    made_up = [i * 7919 % size for i in range(1, _NUM_PREFIX + sum(_NUM_REST) + 2 * _NUM_WRITTEN + 1)]
    prefix, rest = made_up[:_NUM_PREFIX], made_up[_NUM_PREFIX:]
    rests = [rest[: _NUM_REST[0]], rest[_NUM_REST[0] : sum(_NUM_REST)]]
    written = [rest[sum(_NUM_REST) :][:_NUM_WRITTEN], rest[sum(_NUM_REST) :][_NUM_WRITTEN:]]
    ours: list[list[Any]] = [[], []]
    generator, shelf, table = SharedGenerator(model), Shelf(), Table()
    root = Node(parent=None, start=0, tokens=tuple(prefix), num_prompts=2)
    leaves = [Node(parent=root, start=_NUM_PREFIX, tokens=tuple(r), num_prompts=1) for r in rests]
    with torch.inference_mode():
        with attending(model):
            _, state = generator.read([shelf.segment(root, _NUM_PREFIX)])
            logits, _ = generator.read([shelf.segment(leaf, len(leaf.tokens)) for leaf in leaves])
            table.arrange([], [[shelf.states(leaf)] for leaf in leaves], like=shelf.states(root))
            device = logits.device
            for step in range(_NUM_WRITTEN + 1):
                for row in (0, 1):
                    ours[row].append(logits[row].log_softmax(-1))
                if step < _NUM_WRITTEN:
                    at = torch.tensor(_NUM_REST, device=device) + step
                    table.widen(int(at.max()) + 1)
                    shared = [SharedRun(start=0, stop=_NUM_PREFIX, states=shelf.states(root), rows=None)]
                    start = torch.full((2,), _NUM_PREFIX, device=device)
                    writing = Writing(shared=shared, own=table.states, own_start=start, at=at, width=int(at.max()) + 1)
                    logits = generator.write([w[step] for w in written], writing)
        difference = 0.0
        for row in (0, 1):
            whole = torch.tensor([[*prefix, *rests[row], *written[row]]], device=device)
            plain = model(input_ids=whole, use_cache=False).logits[0, -_NUM_WRITTEN - 1 :].float().log_softmax(-1)
            apart = (plain - torch.stack(ours[row])).abs()[plain.isfinite()]
            difference = max([difference, *([float(apart.nan_to_num(nan=torch.inf).max())] if apart.numel() else [])])
    return difference, state.windows
