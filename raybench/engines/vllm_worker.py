"""What raybench asks of vLLM's worker processes: which weights they really compute with. Runs there, next to the model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

_CHUNK = 1 << 24  # values that are widened at once
_NUM_SPREAD = 8


class WeightInspector:
    """Becomes a base class of vLLM's worker (`worker_extension_cls`); methods are called by name from the engine."""

    model_runner: Any

    def raybench_digests(self, columns: Mapping[str, Sequence[int]]) -> dict[str, str]:
        """Weight to a digest of what is computed with.

        A CPU build keeps a packed copy of a linear layer's weight inside its kernel library, and often drops the weight itself. Such a copy is
        read by what it makes of unit vectors, which is some of its columns exactly; its name is `<module>.weight@packed`.

        Args:
            columns: Name of a tensor in checkpoint files to the columns to read, besides some that are always read.
        """
        model = self.model_runner.get_model()
        merged = self.raybench_merged_names()
        found = {name: _digest(p) for name, p in model.named_parameters() if p.numel()}
        for name, module in model.named_modules():
            if hasattr(module, "cpu_linear"):
                wanted = {c for part in file_names(f"{name}.weight", merged) for c in columns.get(part, ())}
                found[f"{name}.weight@packed"] = _digest(_read_packed(module, wanted))
        return found

    def raybench_merged_names(self) -> dict[str, list[str]]:
        """Name of a merged layer to the names that its parts have in checkpoint files (`qkv_proj` to q, k, v)."""
        mapping = getattr(self.model_runner.get_model(), "packed_modules_mapping", None) or {}
        return {str(name): [str(part) for part in parts] for name, parts in mapping.items()}

    def raybench_repack(self) -> int:
        """Make packed copies of embedding and output layers anew after a reload, which leaves them as they were; returns how many."""
        from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

        count = 0
        for module in self.model_runner.get_model().modules():
            if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)
                count += 1
        return count

    def raybench_numerics(self) -> dict[str, str]:
        """What decides the last digits: attention backends, number format, batch-invariant kernels, threads."""
        import torch
        from vllm import envs

        groups = getattr(self.model_runner, "attn_groups", [])
        names = sorted({group.backend.get_name() for of_cache in groups for group in of_cache})
        return {
            "attn": "+".join(names) or "none",
            "dtype": str(self.model_runner.model_config.dtype).removeprefix("torch."),
            "invariant": "yes" if getattr(envs, "VLLM_BATCH_INVARIANT", False) else "no",
            "threads": str(torch.get_num_threads()),
        }


def file_names(name: str, merged: Mapping[str, Sequence[str]]) -> list[str]:
    """Names in checkpoint files of a weight of vLLM: itself, or those of its parts where it is merged."""
    for layer, parts in merged.items():
        if f".{layer}." in name:
            return [name.replace(f".{layer}.", f".{part}.") for part in parts]
    return [name]


def _read_packed(module: Any, wanted: set[int]) -> Any:
    """[columns, out] Columns of the weight that a linear layer computes with: the wanted ones, and some at even distances."""
    import torch

    width = getattr(module, "input_size_per_partition", None) or module.embedding_dim
    columns = sorted({c for c in wanted if c < width} | {k * width // _NUM_SPREAD for k in range(_NUM_SPREAD)})
    units = torch.zeros(len(columns), width, dtype=module.weight.dtype, device=module.weight.device)
    units[torch.arange(len(columns)), torch.tensor(columns)] = 1
    with torch.inference_mode():
        return module.quant_method.apply(module, units, None)


def _digest(tensor: Any) -> str:
    """Digest of a tensor's bytes, on its own device: two sums modulo 2^64, one of them weighted by position."""
    import torch

    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    hasher = hashlib.sha256(str((tuple(tensor.shape), str(tensor.dtype))).encode())
    for start in range(0, raw.numel(), _CHUNK):
        values = raw[start : start + _CHUNK]
        values = torch.nn.functional.pad(values, (0, -values.numel() % 4)).view(torch.int32).to(torch.int64)
        place = torch.arange(1, values.numel() + 1, device=values.device)
        hasher.update(str((int(values.sum()), int((values * place * 2654435761).sum()))).encode())
    return hasher.hexdigest()[:32]
