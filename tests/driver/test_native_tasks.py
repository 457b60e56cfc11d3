"""Every built-in task whose real data lies beside the project, from a few of its rows to numbers, in every form, by models that can serve it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raybench.core.config_file import parse
from raybench.core.types import Kind
from raybench.driver.run import run
from raybench.tasks.registry import get_task
from raybench.tasks.task import Task
from tests.driver.runs import read_rows
from tests.tiny_models import label_names, make_checkpoint

# task: key of the `data:` map, folder of the copy, its file
NATIVE = {
    "arc_challenge": ("allenai/ai2_arc:ARC-Challenge", "arc_challenge", "test.parquet"),
    "boolq": ("aps/super_glue:boolq", "super_glue_boolq", "validation.parquet"),
    "mmlu/anatomy": ("cais/mmlu:all", "mmlu", "test.parquet"),
    "winogrande": ("allenai/winogrande:winogrande_xl", "winogrande", "validation.parquet"),
    "lambada_openai": ("EleutherAI/lambada_openai", "lambada_openai", "test.parquet"),
    "wikitext": ("EleutherAI/wikitext_document_level", "wikitext_2", "test_pages.parquet"),
    "gsm8k": ("openai/gsm8k", "gsm8k", "test.jsonl.gz"),
    **{f"glue/{n}": (f"nyu-mll/glue:{n}", f"glue_{n}", "validation.parquet") for n in ("cola", "sst2", "stsb", "rte")},
    "glue/qqp": ("nyu-mll/glue:qqp", "glue_qqp", "validation_sample.parquet"),
    "glue/mnli_matched": ("nyu-mll/glue:mnli", "glue_mnli", "validation_matched.parquet"),
    **{f"super_glue/{n}": (f"aps/super_glue:{n}", f"super_glue_{n}", "validation.parquet") for n in ("cb", "multirc", "rte")},
    "super_glue/record": ("aps/super_glue:record", "super_glue_record", "train_sample.parquet"),
    "super_glue/wsc": ("aps/super_glue:wsc.fixed", "super_glue_wsc", "validation.parquet"),
    "squad": ("rajpurkar/squad", "squad_v1_1_xquad_en", "validation_subset.parquet"),
    "squad_v2": ("rajpurkar/squad_v2", "squad_v2", "validation_cs224n_half.parquet"),
    "conll2003": ("eriktks/conll2003", "conll2003", "test.parquet"),
    "drcd": ("clue/clue:drcd", "clue_drcd", "validation.parquet"),
    **{n: (f"clue/clue:{n}", f"clue_{n}", "validation.parquet") for n in ("afqmc", "cmnli", "tnews")},
    "cluewsc": ("clue/clue:cluewsc2020", "fewclue_cluewsc", "test_public.parquet"),
    "chnsenticorp": ("lansinuote/ChnSentiCorp", "chnsenticorp", "validation.parquet"),
    "chid": ("CLUEbenchmark/FewCLUE:chid", "fewclue_chid", "test_public.parquet"),
}
OTHERS = ("bbh", "bigbench_", "ceval", "codexglue_", "humaneval", "wmt21_", "xsum", "hellaswag")
"""Beginnings of the folders that no built-in task reads; of HellaSwag the copy lacks columns that the hub has."""
COUNT = 3

HEADS = {
    Kind.CLASSIFY: "AutoModelForSequenceClassification",
    Kind.TAG: "AutoModelForTokenClassification",
    Kind.SPAN: "AutoModelForQuestionAnswering",
    Kind.FILL: "AutoModelForMaskedLM",
}

Make = Callable[[Kind, tuple[str, ...]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def models_for(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The models that serve a form: a head, or a decoder and, where there is a prompt to read, a T5."""
    folder = tmp_path_factory.mktemp("models")
    long = {"max_position_embeddings": 2048}

    @cache
    def head(kind: Kind, labels: tuple[str, ...]) -> str:
        names = label_names(labels) if labels else {"num_labels": 2 if kind is Kind.SPAN else 1}
        return str(make_checkpoint(folder / f"{kind.value}-{'-'.join(labels)[:80]}", "bert", HEADS[kind], **long, **names))

    @cache
    def decoder() -> str:
        return str(make_checkpoint(folder / "llama", "llama", "AutoModelForCausalLM", **long))

    @cache
    def t5() -> str:
        path = make_checkpoint(folder / "t5", "t5", "AutoModelForSeq2SeqLM", vocab_size=4100, eos_token_id=1)
        make_t5_tokenizer(shared / "data").save_pretrained(path)
        return str(path)

    def models(kind: Kind, labels: tuple[str, ...]) -> list[dict[str, Any]]:
        if kind in HEADS:
            # windows go through a passage, a masked text must fit as a whole
            overlong = "error" if kind is Kind.FILL else "truncate_right"
            return [{"name": "head", "checkpoint": head(kind, labels), "engine": {"overlong": overlong}}]
        found = [{"name": "llama", "checkpoint": decoder(), "engine": {"overlong": "truncate_left"}}]
        if kind is not Kind.ROLLING:
            found.append({"name": "t5", "checkpoint": t5(), "engine": {"overlong": "truncate_left", "max_length": 2048}})
        return found

    return models


def make_t5_tokenizer(data: Path) -> Any:
    """A tokenizer as T5's are made: SentencePiece's unigram model, of English and Chinese text."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
    from tokenizers.models import Unigram
    from transformers import T5Tokenizer

    files = {"glue_sst2": "sentence", "squad_v1_1_xquad_en": "context", "clue_drcd": "context"}
    texts = [
        str(row) for name, column in files.items() for row in pq.read_table(next((data / name).glob("*.parquet")))[column].slice(0, 150)
    ]
    core = Tokenizer(Unigram())
    core.normalizer = normalizers.NFKC()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    core.train_from_iterator(
        texts, trainers.UnigramTrainer(vocab_size=4000, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    return T5Tokenizer(vocab=[tuple(piece) for piece in json.loads(core.to_str())["model"]["vocab"]], extra_ids=100)


def task_of(name: str) -> Task:
    task = get_task(name)
    assert isinstance(task, Task)
    return task


def test_no_data_beside_the_project_is_left_out(shared: Path) -> None:
    folders = {path.name for path in (shared / "data").iterdir() if path.is_dir()}

    assert {f for f in folders if not f.startswith(OTHERS)} == {folder for _, folder, _ in NATIVE.values()}


def alike() -> dict[tuple[Kind, tuple[str, ...]], list[str]]:
    """Form and label names to the tasks that the same models can serve."""
    found: dict[tuple[Kind, tuple[str, ...]], list[str]] = {}
    for name in NATIVE:
        for kind, form in task_of(name).forms.items():
            found.setdefault((kind, form.labels), []).append(name)
    return found


ALIKE = alike()


@pytest.mark.parametrize(("kind", "labels"), ALIKE, ids=[f"{kind}-{'-'.join(names)[:60]}" for (kind, _), names in ALIKE.items()])
def test_real_rows_run_from_end_to_end(kind: Kind, labels: tuple[str, ...], models_for: Make, shared: Path, tmp_path: Path) -> None:
    names, models = ALIKE[kind, labels], models_for(kind, labels)
    places = {hub: (shared / "data" / folder, {task_of(n).source.split: file}) for n in names for hub, folder, file in [NATIVE[n]]}

    report = run(
        parse(
            {
                "name": "native",
                "output": str(tmp_path / "run"),
                "models": models,
                "tasks": [{"name": name, "form": kind.value, "shots": 0} for name in names],
                "data": {hub: {"path": str(path), "splits": splits} for hub, (path, splits) in places.items()},
                "engine": {"kind": "pytorch", "threads": 1},
                "sampling": {"max_tokens": 4},
                "pool": "local",
                "limit": COUNT,
                "bootstrap": 20,
            }
        )
    )

    assert (report.exit_code, report.problems) == (0, ())
    rows = read_rows(report.path)
    assert {row["error_code"] for row in rows} == {None}
    asked = [{(r["task"], r["sample_id"], r["request"]) for r in rows if r["model"] == model["name"]} for model in models]
    assert all(keys == asked[0] for keys in asked)  # paired
    assert Counter(name for name, _ in {(r["task"], r["sample_id"]) for r in rows}) == {name.replace("/", "."): COUNT for name in names}
    found = {(r.model, r.task, r.metric.partition("[")[0]) for r in report.results.results}  # a filter stands in brackets
    assert found == {(model["name"], name, metric) for model in models for name in names for metric in task_of(name).forms[kind].metrics}
    assert all(r.withheld is None and r.estimate.num_errors == 0 for r in report.results.results)
