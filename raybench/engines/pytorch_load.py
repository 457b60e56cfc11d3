"""A checkpoint becomes a live PyTorch decoder and its tokenizer; and other weights come into the live module."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import PytorchConfig
from raybench.core.errors import CheckpointError, ConfigError, EngineError
from raybench.engines import gguf, loading
from raybench.engines.adapter import with_adapter
from raybench.engines.memory import is_out_of_memory
from raybench.engines.pytorch_options import check_quantized, loading_arguments

_DECODER = "AutoModelForCausalLM"
_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A checkpoint in memory."""

    model: Any
    """On its device, in evaluation mode."""
    tokenizer: Any
    eos: frozenset[int]
    """Tokens that end an answer."""
    layout: str
    """Digest of configuration and tokenizer files: equal where weights can be swapped."""
    is_plain: bool = True
    """Whether the module holds the weights of the files and nothing else: neither quantized ones nor an adapter."""


def device_of(options: PytorchConfig) -> str:
    """Where the model runs.

    Raises:
        ConfigError: when the device asked for is not there; never a silent run on the CPU.
    """
    import torch

    if options.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[options.device]
    if not there:
        raise ConfigError(
            f"engine.device: '{options.device}' was asked for, but PyTorch {torch.__version__} sees no such device here. "
            "Check the driver, the PyTorch build and the GPUs of the engine (resources.gpus_per_engine), or set device: cpu."
        )
    return options.device


def dtype_of(options: PytorchConfig, device: str) -> Any:
    """Number format of weights and activations; auto: bfloat16 on a GPU, otherwise float32."""
    import torch

    name = options.dtype if options.dtype != "auto" else "bfloat16" if device == "cuda" else "float32"
    return getattr(torch, name)


def folder_of(checkpoint: Checkpoint) -> Path:
    """The local folder of a checkpoint: itself, its GGUF file converted, or its hub id downloaded; scanned, safe to open.

    Raises:
        CheckpointError: see `loading.check_folder`; also when a hub id cannot be fetched.
    """
    place = checkpoint.path
    quiet()
    if place is None:
        folder = _download(checkpoint.uri, checkpoint.revision, checkpoint)
    elif place.endswith(".gguf"):
        folder = gguf.converted(checkpoint)
    else:
        folder = Path(place)
    loading.check_folder(folder, allow_pickle=checkpoint.allow_pickle, trust_remote_code=checkpoint.trust_remote_code)
    return folder


def tokenizer_folder_of(checkpoint: Checkpoint, folder: Path) -> Path:
    """The local folder of a checkpoint's tokenizer: its own, or the one it names.

    Raises:
        CheckpointError: when there is no tokenizer in it.
    """
    place = folder
    if checkpoint.tokenizer:
        local = Path(checkpoint.tokenizer).expanduser()
        place = local if local.is_dir() else _download(checkpoint.tokenizer, None, checkpoint)
    if not loading.has_tokenizer(place):
        raise CheckpointError(
            f"{place}: no tokenizer. Expected tokenizer.json or its like; name another folder or hub id with `tokenizer:` on this model, such as the base model's."
        )
    return place


def load(checkpoint: Checkpoint, options: PytorchConfig, *, auto: str = _DECODER, may_lack: str = "") -> Loaded:
    """Bring a checkpoint into memory and compare what it gave with what the architecture needs.

    Args:
        checkpoint: What is loaded.
        options: How.
        auto: The class of transformers that knows the architecture's head.
        may_lack: Regular expression of weights that nothing of what is asked reads (a pooler under an embedding).

    Raises:
        CheckpointError: when anything is missing or does not fit.
        ConfigError: when the device is not there, or an option cannot be honoured.
        EngineError: when memory does not suffice for the weights.
    """
    import transformers

    device = device_of(options)
    folder = folder_of(checkpoint)
    place = tokenizer_folder_of(checkpoint, folder)
    arguments = loading_arguments(options, device)
    is_quantized = check_quantized(folder, loading.read_config(folder), options)
    is_plain = checkpoint.adapter is None and not is_quantized and options.quantization is None
    if is_quantized:
        arguments.setdefault("device_map", {"": device})
    try:
        model, info = getattr(transformers, auto).from_pretrained(
            folder,
            dtype=dtype_of(options, device),
            **arguments,
            trust_remote_code=checkpoint.trust_remote_code,
            use_safetensors=not checkpoint.allow_pickle or None,
            weights_only=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # not ignored: reported by name, and refused in _check_complete
        )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError, ImportError) as error:
        if is_out_of_memory(error):
            raise EngineError(f"{folder}: no memory for the weights on {device}: {_first_lines(error)}") from error
        raise CheckpointError(
            f"{folder}: transformers cannot load it {'as a decoder' if auto == _DECODER else f'by {auto}'}: {type(error).__name__}: {_first_lines(error)}"
        ) from error
    _check_complete(folder, info, may_lack)
    tokenizer = load_tokenizer(place, checkpoint)
    num_rows = model.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= num_rows:
        raise CheckpointError(
            f"{folder}: the tokenizer in {place} has token ids up to {largest}, the embedding only {num_rows} rows. They do not belong together; set `tokenizer:` on this model."
        )
    eos = loading.eos_ids(folder) | ({tokenizer.eos_token_id} - {None})
    if checkpoint.adapter is not None:
        model = with_adapter(model, checkpoint)
    if "device_map" not in arguments:
        model = model.to(device)
        if device == "cpu":
            _own(model)
    if options.compile:
        import torch

        model.forward = torch.compile(model.forward, dynamic=True)
    return Loaded(model=model.eval(), tokenizer=tokenizer, eos=eos, layout=loading.layout_digest(folder, place), is_plain=is_plain)


def _own(model: Any) -> None:
    """Copy weights that are mapped from the checkpoint's file: they must not change with it, and a first swap would copy them page by page."""

    def copy(weights: Any) -> None:
        weights.data = weights.data.clone()

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(copy, (*model.parameters(), *model.buffers())))


def swap(loaded: Loaded, checkpoint: Checkpoint) -> Loaded | None:
    """Copy the weights of another checkpoint into the live module; None where it does not fit exactly and must be loaded afresh.

    Raises:
        CheckpointError: when the checkpoint is broken; the live module is unchanged.
    """
    from safetensors.torch import load_file

    if checkpoint.module is not None or checkpoint.adapter is not None or not loaded.is_plain:
        return None
    folder = folder_of(checkpoint)
    place = tokenizer_folder_of(checkpoint, folder)
    files = loading.weight_files(folder, allow_pickle=checkpoint.allow_pickle)
    if loading.layout_digest(folder, place) != loaded.layout or any(f.suffix != ".safetensors" for f in files):
        return None
    state = {name: tensor for file in files for name, tensor in load_file(file).items()}
    live = loaded.model.state_dict()
    # weights that share their memory with a loaded one (tied output layer) need no entry of their own
    given = {live[name].data_ptr() for name in state if name in live}
    absent = [name for name in live if name not in state and live[name].data_ptr() not in given]
    if absent or any(name not in live or live[name].shape != tensor.shape for name, tensor in state.items()):
        return None
    loaded.model.load_state_dict(state, strict=False)
    eos = loading.eos_ids(folder) | ({loaded.tokenizer.eos_token_id} - {None})
    return replace(loaded, eos=eos)


def quiet() -> None:
    """No progress bars and warnings of the libraries: several engines write to one terminal."""
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging

    disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _download(name: str, revision: str | None, checkpoint: Checkpoint) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    more = ("*.bin",) * checkpoint.allow_pickle + ("*.py",) * checkpoint.trust_remote_code
    try:
        # top level only: other formats of the same weights lie in sub-folders
        return Path(snapshot_download(name, revision=revision, allow_patterns=[*_HUB_FILES, *more], ignore_patterns=["*/*"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        at = f"@{revision}" if revision else ""
        raise CheckpointError(
            f"checkpoint '{name}{at}': no such folder, and the hub does not give it: {_first_lines(error)}. Check the name, the revision, the network and your token."
        ) from error


def load_tokenizer(folder: Path, checkpoint: Checkpoint) -> Any:
    """The tokenizer of a folder.

    Raises:
        CheckpointError: when it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=checkpoint.trust_remote_code, local_files_only=True)
    except Exception as error:  # the Rust tokenizers raise plain Exception for a damaged file
        raise CheckpointError(f"{folder}: the tokenizer cannot be loaded: {_first_lines(error)}") from error


def _check_complete(folder: Path, info: Any, may_lack: str) -> None:
    missing = sorted(k for k in info["missing_keys"] if not (may_lack and re.search(may_lack, k)))
    mismatched = sorted(str(m[0]) if isinstance(m, tuple) else str(m) for m in info["mismatched_keys"])
    for names, what in ((missing, "missing and would be made up"), (mismatched, "of another shape than config.json says")):
        if names:
            raise CheckpointError(
                f"{folder}: {len(names)} weights are {what}: {', '.join(names[:5])}. Expected all weights, those of the head too; the folder is incomplete or of another architecture."
            )


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
