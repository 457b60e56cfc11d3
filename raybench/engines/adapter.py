"""LoRA adapters on a checkpoint: checked by their files, then put into the live module by peft.

The adapter stays beside the weights and is not merged into them. Merging rounds each sum to the dtype of the weights: in bfloat16 a small
change is lost, and quantized weights cannot take it at all. What is evaluated is what was trained; it is also what the harness does.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError, ConfigError
from raybench.engines import loading


def check_adapter(folder: Path, *, allow_pickle: bool = False) -> None:
    """Refuse an adapter that cannot be loaded, or not safely, by its files.

    Raises:
        CheckpointError: when it is no adapter, of a kind that changes more than weights, or its weights are missing or pickled.
    """
    file = folder / "adapter_config.json"
    if not file.is_file():
        raise CheckpointError(f"{folder}: adapter_config.json is missing. Expected a LoRA adapter as peft's save_pretrained writes it.")
    try:
        kind = json.loads(file.read_bytes()).get("peft_type")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}: no JSON object: {error}. Copy it again.") from error
    if kind != "LORA":
        raise CheckpointError(f"{file}: peft_type is {kind!r}. Expected LORA; merge other kinds into the base model first.")
    weights = folder / "adapter_model.safetensors"
    if weights.is_file():
        loading.check_safetensors(weights)
    elif not (folder / "adapter_model.bin").is_file():
        raise CheckpointError(f"{folder}: no weights. Expected adapter_model.safetensors beside adapter_config.json.")
    elif not allow_pickle:
        raise CheckpointError(
            f"{folder}: the weights are pickled (adapter_model.bin), and unpickling can run code. "
            "Convert them to safetensors, or consent with `allow_pickle: true` on this model."
        )


def with_adapter(model: Any, checkpoint: Checkpoint) -> Any:
    """`model` with the adapter of `checkpoint` in its layers; the same class, so that its forward pass takes what it took before.

    Raises:
        ConfigError: when peft is not installed.
        CheckpointError: when the adapter is broken, or does not fit the model.
    """
    assert checkpoint.adapter is not None, "called where there is one"
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("models: `adapter` needs the package peft: pip install 'raybench[peft]'.")
    from peft import PeftModel
    from safetensors import safe_open

    folder = Path(checkpoint.adapter).expanduser()
    check_adapter(folder, allow_pickle=checkpoint.allow_pickle)
    try:
        wrapped = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    except (RuntimeError, ValueError, KeyError, OSError, TypeError) as error:
        raise CheckpointError(f"{folder}: the adapter does not fit {checkpoint.uri}: {' '.join(str(error).split())[:400]}") from error
    weights = folder / "adapter_model.safetensors"
    if weights.is_file():
        with safe_open(weights, framework="pt") as stored:
            given = set(stored.keys())
        # peft leaves out what it finds no place for, and says so in a warning alone
        known = {name.replace(".default", "").removeprefix("base_model.model.") for name in wrapped.state_dict()}
        lost = sorted(name for name in given if name.removeprefix("base_model.model.") not in known)
        if lost:
            raise CheckpointError(
                f"{folder}: {len(lost)} weights of the adapter have no place in {checkpoint.uri}: {', '.join(lost[:3])}. "
                "Expected an adapter that was trained on this base model."
            )
    return wrapped.get_base_model()
