"""A plain PyTorch module from its factory and its state file: weights alone are read, never pickled objects."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint, Module
from raybench.core.engine_config import PytorchConfig
from raybench.core.errors import CheckpointError, ConfigError
from raybench.engines.pytorch_load import device_of, dtype_of


def load_module(checkpoint: Checkpoint, options: PytorchConfig) -> Any:
    """The module with its weights, on its device, in evaluation mode.

    Raises:
        CheckpointError: when the factory cannot be called, or the weights are not exactly the module's.
        ConfigError: when the device is not there, or an option is for models of transformers only.
    """
    assert checkpoint.module is not None, "a checkpoint without a factory is not for this engine"
    refused = [name for name in ("device_map", "quantization", "compile") if getattr(options, name) not in (None, False)]
    if refused or checkpoint.adapter is not None:
        name = f"engine.{refused[0]}" if refused else "adapter"
        raise ConfigError(f"checkpoint '{checkpoint.uri}': {name} is for models of transformers, not for a plain module. Leave it out.")
    device = device_of(options)
    module = _made(checkpoint.module)
    take_state(module, checkpoint)
    return module.to(device=device, dtype=dtype_of(options, device)).eval()


def take_state(module: Any, checkpoint: Checkpoint) -> None:
    """Copy the weights of the checkpoint's state file into a module.

    Raises:
        CheckpointError: when a weight is missing, left over or of another shape; the module is unchanged then.
    """
    path = Path(checkpoint.path or checkpoint.uri)
    state, own = _read_state(path), module.state_dict()
    missing, foreign = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [n for n in own if n in state and own[n].shape != state[n].shape]
    for names, what in ((missing, "missing"), (foreign, "not the module's"), (shapes, "of another shape")):
        if names:
            raise CheckpointError(
                f"{path}: {len(names)} weights are {what}: {', '.join(names[:5])}. Expected exactly those of the module that "
                f"{checkpoint.module.factory if checkpoint.module else 'the factory'} makes; check `arguments`."
            )
    module.load_state_dict(state)


def _made(module: Module) -> Any:
    import torch

    name, _, attribute = module.factory.partition(":")
    try:
        factory = getattr(importlib.import_module(name), attribute)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(f"factory '{module.factory}': {error}. Expected package.module:function on Python's path.") from error
    try:
        made = factory(**module.arguments)
    except Exception as error:  # the factory is somebody else's: whatever it raises, the cause is what the configuration names
        raise CheckpointError(f"factory '{module.factory}' with {dict(module.arguments)}: {type(error).__name__}: {error}") from error
    if not isinstance(made, torch.nn.Module):
        raise CheckpointError(f"factory '{module.factory}': expected a torch.nn.Module, it gave a {type(made).__name__}.")
    return made


def _read_state(path: Path) -> dict[str, Any]:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as weights: {' '.join(str(error).split())[:300]} Expected what torch.save(module.state_dict(), path) or "
            "safetensors.torch.save_file writes."
        ) from error
    if isinstance(state, dict) and not any(isinstance(v, torch.Tensor) for v in state.values()):
        # a training script often keeps the optimizer beside the weights
        state = next((state[k] for k in ("state_dict", "model_state_dict", "model") if isinstance(state.get(k), dict)), state)
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: expected a mapping of names to tensors, as module.state_dict() gives it.")
    return dict(state)
