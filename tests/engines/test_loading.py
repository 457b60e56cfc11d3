from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.protocols import EngineSpec
from raybench.engines.loading import check_folder, eos_ids, has_chat_template, layout_digest
from raybench.engines.pytorch_causal import PytorchCausalEngine


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in config.items() if k not in changes or v is not None}))


def truncate(folder: Path, num_bytes: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:num_bytes])


def pickle_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def index_without_file(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda f: shutil.rmtree(f), "no such folder"),
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json is missing"),
    "an adapter": (lambda f: (f / "config.json").rename(f / "adapter_config.json"), "merge it into its base model"),
    "no model_type": (lambda f: edit_config(f, model_type=None), "no 'model_type'"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json: no JSON"),
    "code by auto_map": (lambda f: edit_config(f, auto_map={"AutoModel": "x.Y"}), r"own Python code \('auto_map'"),
    "code as a file": (lambda f: (f / "modeling_x.py").write_text(""), r"own Python code \(modeling_x\.py\)"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"no weights"),
    "pickled weights": (pickle_weights, r"pickled \(pytorch_model\.bin\)"),
    "weights are a pointer": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        r"model\.safetensors: a Git-LFS pointer",
    ),
    "tokenizer is a pointer": (
        lambda f: (f / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n"),
        r"tokenizer\.json: a Git-LFS pointer",
    ),
    "truncated in the header": (lambda f: truncate(f, 100), "truncated inside its header"),
    "truncated in the tensors": (lambda f: truncate(f, -4), r"truncated: \d+ bytes, expected 8 \+"),
    "empty file": (lambda f: truncate(f, 0), "no safetensors file: 0 bytes"),
    "index names a missing file": (index_without_file, r"1 of 2 files that do not exist: model-2\.safetensors"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_folder_is_refused_by_its_files(folder: Path, name: str) -> None:
    breaks, message = BROKEN[name]
    breaks(folder)

    with pytest.raises(CheckpointError, match=message):
        check_folder(folder)


def test_a_whole_folder_passes(folder: Path) -> None:
    check_folder(folder)


def test_consent_lifts_the_refusal(folder: Path) -> None:
    pickle_weights(folder)
    (folder / "modeling_x.py").write_text("")

    check_folder(folder, allow_pickle=True, trust_remote_code=True)


def engine(folder: Path, **options: object) -> PytorchCausalEngine:
    return PytorchCausalEngine(
        EngineSpec(kind="pytorch", checkpoint=Checkpoint(uri="m", path=str(folder)), options={"threads": 1, **options})
    )


def without_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


LOADED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing tensor": (without_tensor, r"1 weights are missing.*up_proj"),
    "another shape": (lambda f: edit_config(f, intermediate_size=64), r"cannot load it as a decoder|another shape"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"no tokenizer.*`tokenizer:`"),
    "a damaged tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer cannot be loaded"),
    "a larger vocabulary": (lambda f: add_token(f), r"token ids up to 260, the embedding only 260 rows"),
    "no decoder": (lambda f: edit_config(f, model_type="t5"), "cannot load it as a decoder"),
}


def add_token(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<one more>"])
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("name", list(LOADED))
def test_a_checkpoint_that_does_not_fit_is_refused_when_it_is_loaded(folder: Path, name: str) -> None:
    breaks, message = LOADED[name]
    breaks(folder)

    with pytest.raises(CheckpointError, match=message):
        engine(folder)


def test_pickled_weights_load_with_consent(folder: Path) -> None:
    pickle_weights(folder)

    PytorchCausalEngine(
        EngineSpec(kind="pytorch", checkpoint=Checkpoint(uri="m", path=str(folder), allow_pickle=True), options={"threads": 1})
    ).close()


def test_a_device_that_is_not_there_is_no_silent_cpu_run(folder: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="'cuda' was asked for"):
        engine(folder, device="cuda")


def test_more_context_than_positions_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="1000 is more than the 512 positions"):
        engine(folder, max_length=1000)


def test_a_hub_id_that_cannot_be_fetched_is_explained() -> None:
    with pytest.raises(CheckpointError, match="checkpoint 'no-one/nothing@abc': no such folder, and the hub does not give it"):
        PytorchCausalEngine(EngineSpec(kind="pytorch", checkpoint=Checkpoint(uri="no-one/nothing", revision="abc"), options={}))


def test_a_gguf_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_text("version https://git-lfs")

    with pytest.raises(CheckpointError, match="begins with b'vers', expected b'GGUF'"):
        engine(tmp_path / "a.gguf")


def test_the_chat_template_is_found_by_the_files(folder: Path, tmp_path: Path) -> None:
    assert has_chat_template(folder) is True
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert has_chat_template(folder) is False
    assert has_chat_template(tmp_path / "nothing") is None


def test_end_tokens_come_from_the_generation_config_first(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 3]}))
    assert eos_ids(folder) == {1, 3}
    (folder / "generation_config.json").unlink()
    assert eos_ids(folder) == {1}


def test_the_layout_is_the_same_for_other_weights_and_another_for_another_model(folder: Path, other_llama: Path) -> None:
    before = layout_digest(folder, folder)
    edit_config(folder, transformers_version="0", dtype="bfloat16")

    assert layout_digest(folder, folder) == before == layout_digest(other_llama, other_llama)
    edit_config(folder, rms_norm_eps=0.1)
    assert layout_digest(folder, folder) != before
