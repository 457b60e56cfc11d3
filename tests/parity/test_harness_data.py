"""Real benchmark rows: the harness's own task files give in raybench, on 1 actor and on 3, what lm_eval.simple_evaluate gives. Expected: lm-eval 0.4.13."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pyarrow.parquet as pq
import pytest

from tests.driver.runs import Together, content_rows, events_of, results_of
from tests.parity.harness_tasks import compare, ours, theirs, write_task
from tests.parity.programs import Harness

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.xdist_group("ray"),
]
HOME = Path(lm_eval.tasks.__file__).parent
NUM_ROWS, SHORT = 4, {"until": ["\n"], "do_sample": False, "max_gen_toks": 16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """A task file of the harness, and the rows it gets."""

    file: str
    """Below lm_eval/tasks."""
    rows: str
    """Below the folder of benchmark data."""
    where: Callable[[dict[str, Any]], bool] = lambda row: True
    fields: dict[str, Any] = field(default_factory=dict)
    """In place of the task file's."""
    cut: str = ""
    """A column of which the first 2,000 characters are kept: the harness adds in float32, in which a page's sum has no three decimals."""


def wmt(pair: str) -> Real:
    """Translation as the harness's wmt16 tasks ask for it: BLEU, TER and chrF of a corpus."""
    source, target = pair.split("_")
    names = {"de": "German", "en": "English", "zh": "Chinese"}
    text = f'{names[source]} phrase: {{{{translation["{source}"]}}}}\n{names[target]} phrase:'
    given = {"doc_to_text": text, "doc_to_target": f' {{{{translation["{target}"]}}}}', "generation_kwargs": SHORT}
    return Real(file="translation/wmt_common_yaml", rows=f"wmt21_{pair}/test.parquet", fields=given)


REAL = {
    "arc": Real(file="arc/arc_challenge.yaml", rows="arc_challenge/test.parquet", fields={"num_fewshot": 3}),
    "winogrande": Real(file="winogrande/default.yaml", rows="winogrande/validation.parquet"),
    "lambada": Real(file="lambada/lambada_openai.yaml", rows="lambada_openai/test.parquet"),
    "wikitext": Real(file="wikitext/wikitext.yaml", rows="wikitext_2/test_pages.parquet", cut="page"),
    "gsm8k": Real(file="gsm8k/gsm8k.yaml", rows="gsm8k/test.jsonl.gz", fields={"num_fewshot": 2, "generation_kwargs": SHORT}),
    "anatomy": Real(
        file="mmlu/default/mmlu_anatomy.yaml",
        rows="mmlu/test.parquet",
        where=lambda row: row["subject"] == "anatomy",
        fields={"num_fewshot": 2},
    ),
    "counting": Real(
        file="bbh/zeroshot/object_counting.yaml",
        rows="bbh/test.jsonl.gz",
        where=lambda row: row["task"] == "object_counting",
        fields={"generation_kwargs": SHORT},
    ),
    "civil": Real(
        file="ceval/ceval-valid_civil_servant.yaml", rows="ceval/val.parquet", where=lambda row: row["subject"] == "civil_servant"
    ),
    "movies": Real(file="bigbench/multiple_choice/emoji_movie.yaml", rows="bigbench_emoji_movie/default.jsonl.gz"),
    "mnli": Real(file="glue/mnli/default.yaml", rows="glue_mnli/validation_matched.parquet"),
    **{
        name: Real(file=f"glue/{name}/default.yaml", rows=f"glue_{name}/{rows}.parquet")
        for name, rows in {"cola": "validation", "sst2": "validation", "rte": "validation", "qqp": "validation_sample"}.items()
    },
    **{
        f"super_{name}": Real(file=f"super_glue/{name}/default.yaml", rows=f"super_glue_{name}/{rows}.parquet")
        for name, rows in {
            "boolq": "validation",
            "cb": "validation",
            "multirc": "validation",
            "wsc": "validation",
            "record": "train_sample",
        }.items()
    },
    "wmt_de_en": wmt("de_en"),
    "wmt_zh_en": wmt("zh_en"),
}
"""Tasks of every output type: choices, likelihoods, rolling, texts; with filters, code, corpus metrics, few-shot examples."""


def rows_of(path: Path, where: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        found = filter(where, pq.read_table(path).to_pylist())
    else:
        with gzip.open(path, "rt") as file:
            found = filter(where, [json.loads(line) for line in file])
    return list(islice(found, NUM_ROWS + 4))  # some are examples


@pytest.fixture(scope="module")
def tasks(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task files, and the first rows of each benchmark as JSON lines."""
    folder = tmp_path_factory.mktemp("real")
    for name, real in REAL.items():
        rows = rows_of(shared / "data" / real.rows, real.where)
        rows = [{**row, real.cut: row[real.cut][:2000]} if real.cut else row for row in rows]
        elsewhere = dict.fromkeys(("training_split", "validation_split", "dataset_name"))
        given = {"include": str(HOME / real.file), **elsewhere, "fewshot_split": "test", **real.fields}
        write_task(folder, name, rows, **given)
    return folder


def test_real_rows_on_1_actor_and_on_3_give_what_the_harness_gives(
    tasks: Path, checkpoints: dict[str, Path], harness: Harness, ray_cluster: str, tmp_path: Path
) -> None:
    expected = theirs(harness, checkpoints["llama"], tasks, list(REAL), limit=NUM_ROWS)
    asked = [{"name": f"lm-eval/{name}", "limit": NUM_ROWS, "shard_size": 2} for name in REAL]

    one, three = (
        ours(
            tmp_path / str(engines),
            checkpoints["llama"],
            tasks,
            asked,
            pool=Together(engines),
            resources={"engines": engines, "cpus_per_engine": 0.1},
        )
        for engines in (1, 3)
    )

    compare(one, expected)
    compare(three, expected)
    assert three.num_samples == NUM_ROWS * len(REAL)
    assert len({event["engine"] for event in events_of(three.path, "run")}) == 3
    assert (content_rows(one.path), results_of(one.path)) == (content_rows(three.path), results_of(three.path))
