"""Options of the PyTorch engine that need something of the machine: checked before a checkpoint is loaded, and put into the words of transformers."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

from raybench.core.engine_config import PytorchConfig
from raybench.core.errors import CheckpointError, ConfigError

_FLASH = {"flash_attention_2": ("flash_attn", "flash-attn"), "flash_attention_3": ("flash_attn_interface", "flash-attn-3")}
"""Kernel to the module that brings it, and its distribution."""

_QUANTIZED = {
    "bitsandbytes": (("bitsandbytes", "bitsandbytes"),),
    "gptq": (("gptqmodel", "gptqmodel"), ("optimum", "optimum")),
    "awq": (("gptqmodel", "gptqmodel"),),
    "compressed-tensors": (("compressed_tensors", "compressed-tensors"),),
    "torchao": (("torchao", "torchao"),),
    "quanto": (("optimum.quanto", "optimum-quanto"),),
    "hqq": (("hqq", "hqq"),),
    "aqlm": (("aqlm", "aqlm"),),
    "auto-round": (("auto_round", "auto-round"),),
}
"""`quant_method` of a checkpoint to the modules that read it, each with its distribution (transformers 5.19 quantizers/*, validate_environment)."""


def loading_arguments(options: PytorchConfig, device: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` that follow from the options; with a `device_map` among them, the model is not to be moved.

    Raises:
        ConfigError: when an option cannot be honoured here; says what to install or to set.
    """
    found: dict[str, Any] = {"attn_implementation": _attention(options, device)}
    if options.device_map is not None:
        if device != "cuda":
            raise ConfigError(
                f"engine.device_map: '{options.device_map}' spreads the layers over the GPUs of an engine, and the device is {device}. "
                "Leave it out, or set device: cuda and resources.gpus_per_engine."
            )
        found["device_map"] = options.device_map
    if options.quantization is not None:
        found["quantization_config"] = _bitsandbytes(options)
        found.setdefault("device_map", {"": device})
    if options.compile:
        _check_compiler(device)
    return found


def check_quantized(place: Any, config: dict[str, Any], options: PytorchConfig) -> bool:
    """Whether the weights of a folder are quantized, by its config.json.

    Raises:
        CheckpointError: when the package that reads them is not installed.
        ConfigError: when they are, and the options ask for another quantization on loading.
    """
    described = config.get("quantization_config")
    if not isinstance(described, dict):
        return False
    method = str(described.get("quant_method", "bitsandbytes"))
    if options.quantization is not None:
        raise ConfigError(
            f"engine.quantization: {place} is quantized already ({method}). Leave the option out, or take the checkpoint's unquantized original."
        )
    missing = [name for module, name in _QUANTIZED.get(method, ()) if not _is_installed(module)]
    if missing:
        raise CheckpointError(f"{place}: its weights are quantized by {method}, which needs: pip install {' '.join(missing)}")
    return True


def _attention(options: PytorchConfig, device: str) -> str | None:
    """The kernel by its name in transformers; None: the best that the architecture has, sdpa or eager."""
    name = options.attn_implementation
    if name == "auto":
        return None
    if name in _FLASH:
        module, package = _FLASH[name]
        if device != "cuda":
            raise ConfigError(f"engine.attn_implementation: '{name}' runs on a GPU, and the device is {device}. Set it to sdpa.")
        if options.dtype == "float32":
            raise ConfigError(
                f"engine.attn_implementation: '{name}' computes in bfloat16 or float16, and dtype is float32. Change one of them."
            )
        if not _is_installed(module):
            raise ConfigError(
                f"engine.attn_implementation: '{name}' needs the package {package}: pip install {package}. Or set it to sdpa."
            )
    return name


def _bitsandbytes(options: PytorchConfig) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    if not _is_installed("bitsandbytes"):
        raise ConfigError(f"engine.quantization: '{options.quantization}' needs the package bitsandbytes: pip install bitsandbytes.")
    if options.quantization == "bnb-8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    # the format of QLoRA (Dettmers et al. 2023): normal floats, computed in the engine's dtype
    compute = getattr(torch, options.dtype) if options.dtype != "auto" else torch.bfloat16
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


def _check_compiler(device: str) -> None:
    if device == "cpu" and not any(shutil.which(name) for name in ("g++", "c++", "clang++")):
        raise ConfigError(
            "engine.compile: torch.compile needs a C++ compiler on a CPU, and there is none. Install g++, or set compile: false."
        )
    if device == "cuda" and not _is_installed("triton"):
        raise ConfigError("engine.compile: torch.compile needs triton on a GPU: pip install triton. Or set compile: false.")
    if device == "mps":
        raise ConfigError("engine.compile: torch.compile is not proved on mps. Set compile: false.")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent
        return False
