"""How a decoder of transformers is told who sees whom in a tree of prefixes: one mask, or one for each kind of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.engines.token_tree import Ints, TokenTree


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeMask:
    """The masks that a model wants."""

    windows: Mapping[str, int | None]
    """Kind of layer, in the words of transformers, to the tokens that it sees at most; None: all before."""
    by_kind: bool
    """Whether the model takes a mapping from kind to mask; otherwise one mask, of its only kind."""
    dtype: Any
    """Of the model's activations."""

    def of(self, tree: TokenTree, queries: Ints, keys: Ints, device: Any) -> Any:
        """Additive mask [1, 1, Q, K], or a mapping of them."""
        import torch

        made: dict[int | None, Any] = {}
        for window in self.windows.values():
            if window not in made:
                sees = tree.sees(queries, keys, window=window)
                bias = np.where(sees, np.float32(0), np.float32(torch.finfo(self.dtype).min))
                made[window] = torch.from_numpy(bias).to(device=device, dtype=self.dtype)[None, None]
        masks = {kind: made[window] for kind, window in self.windows.items()}
        return masks if self.by_kind else next(iter(masks.values()))


def tree_mask_of(model: Any) -> TreeMask | str:
    """The masks for `model`, by its configuration and the arguments of its forward pass; or the reason why there are none.

    A tree needs attention over everything before (or over a window of it), positions as an argument, and a free choice of mask. Whether
    the model obeys the mask is for a probe to find out; a window is taken from the configuration, since a probe is shorter than most.
    """
    import inspect

    from transformers.cache_utils import get_layer_types_and_kwargs

    config = model.config.get_text_config(decoder=True)
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return "its forward pass takes no positions (ALiBi, state spaces)."
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        return "its forward pass takes no cache of keys and values."
    if getattr(config, "window_size", None) is not None:
        return "its local attention takes no mask of ours."
    rope = getattr(config, "rope_parameters", None) or {}
    kinds_of_rope = {str(r.get("rope_type")) for r in (rope, *rope.values()) if isinstance(r, Mapping)}
    if kinds_of_rope & {"dynamic", "longrope"}:
        return "its rotary positions depend on the longest row of a batch."
    types, settings = get_layer_types_and_kwargs(config)
    windows: dict[str, int | None] = {}
    for kind, setting in zip(types, settings, strict=False):
        if kind not in ("full_attention", "sliding_attention"):
            return f"it has layers of the kind '{kind}'."
        windows[kind] = setting.get("sliding_window")
    if not windows:
        return "its configuration names no attention layers."
    # in transformers one mask in four dimensions stands for all layers; where there are two kinds, a mapping is taken as it is
    return TreeMask(windows=windows, by_kind=len(windows) > 1, dtype=model.dtype)
