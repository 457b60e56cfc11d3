"""When memory runs out: the whole shard again with half the token budget, and a record of it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raybench.core.errors import EngineDead, EngineError
from raybench.core.protocols import Answers
from raybench.core.types import Prediction

_LEAST_BUDGET = 64  # tokens of a forward pass; with fewer, memory is short for other reasons than the batch


def answer_within(
    budget: int,
    attempt: Callable[[int], list[Prediction]],
    device: Any,
    notices: Sequence[str] = (),
    numerics: Mapping[str, str] | None = None,
) -> Answers:
    """The answers of `attempt(token budget)`, with half the budget as often as memory runs out.

    The next shard begins with the whole budget again: what a shard's rows are depends on the shard, not on those before it.

    Args:
        budget: Most tokens of a forward pass.
        attempt: Answers the whole shard.
        device: Where the model is, for the message.
        notices: What the engine has to say beside the answers.
        numerics: What decides the last digits.

    Raises:
        EngineError: when memory runs out and there is nothing to halve.
        EngineDead: when the device failed.
    """
    current = budget
    while (found := _attempt(current, attempt, device)) is None:
        current //= 2
    return Answers(found, batch_tokens=current, is_budget_halved=current < budget, notices=notices, numerics=numerics)


def _attempt(budget: int, attempt: Callable[[int], list[Prediction]], device: Any) -> list[Prediction] | None:
    try:
        return attempt(budget)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            if budget // 2 < _LEAST_BUDGET:
                raise EngineError(
                    f"out of memory on {device}, even with {budget} tokens in a forward pass: {str(error)[:200]} "
                    "Give the engine more memory, a smaller dtype, or a smaller engine.max_length."
                ) from error
        elif "CUDA error" in str(error):  # after one of these every further call fails
            raise EngineDead(f"the GPU failed: {str(error)[:400]}") from error
        else:
            raise
    free()  # here, where the error no longer holds the tensors of the attempt
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: an accelerator's, or the machine's (PyTorch's CPU allocator raises a plain RuntimeError)."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(t in text for t in ("out of memory", "not enough memory", "can't allocate memory"))


def free(dropped: weakref.ref[Any] | None = None) -> None:
    """Give memory that nothing refers to back to the device.

    Args:
        dropped: A model that was let go. Where nothing holds it any more, its memory is free already, and the search for cycles, which walks
            through every object that lives, is left out.
    """
    import torch

    if dropped is None or dropped() is not None:
        gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
