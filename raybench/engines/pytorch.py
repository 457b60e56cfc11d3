"""The PyTorch engine of a checkpoint: by the architecture that its configuration names, or by the module that it is."""

from __future__ import annotations

from pathlib import Path

from raybench.core.errors import CheckpointError
from raybench.core.protocols import Engine, EngineSpec
from raybench.engines import loading, pytorch_load
from raybench.engines.families import DECODER, FAMILIES, family_of
from raybench.engines.pytorch_causal import PytorchCausalEngine
from raybench.engines.pytorch_encoder import PytorchEncoderEngine
from raybench.engines.pytorch_module import PytorchModuleEngine
from raybench.engines.pytorch_seq2seq import PytorchSeq2seqEngine


def pytorch_engine(spec: EngineSpec) -> Engine:
    """Make the engine that runs the checkpoint of `spec`.

    Raises:
        CheckpointError: when it cannot be loaded, or no family of architectures fits.
        ConfigError: when the options are wrong or the device is not there.
    """
    checkpoint = spec.checkpoint
    if checkpoint.module is not None:
        return PytorchModuleEngine(spec)
    if checkpoint.path is not None and not Path(checkpoint.path).is_dir():
        return PytorchCausalEngine(spec)  # a GGUF file: decoders
    names = loading.read_config(pytorch_load.folder_of(checkpoint)).get("architectures") or ()
    family = family_of(names) if names else DECODER
    if family is None:
        raise CheckpointError(
            f"checkpoint '{checkpoint.uri}': its architecture {', '.join(names)} is none that the PyTorch engine runs. "
            f"Expected a class name such as {', '.join(f.pattern.rpartition('w+')[2] or f.pattern for f in FAMILIES[2:5])}, ...ForCausalLM."
        )
    if family is DECODER:
        return PytorchCausalEngine(spec)
    return PytorchSeq2seqEngine(spec, family) if family.name == "seq2seq" else PytorchEncoderEngine(spec, family)
