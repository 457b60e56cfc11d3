"""All groups of the harness's `leaderboard` give what lm_eval.simple_evaluate gives, on rows of our own in the shape of the hub's. Expected: lm-eval 0.4.13."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lm_eval.tasks
import numpy as np
import pytest
import yaml

from tests.parity.harness_tasks import compare, ours, theirs
from tests.parity.programs import Harness

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("harness")]
HOME = Path(lm_eval.tasks.__file__).parent / "leaderboard"
GROUPS = {"leaderboard", "leaderboard_bbh", "leaderboard_gpqa", "leaderboard_math_hard", "leaderboard_musr"}
LIMIT, WRITTEN = 5, 16
"""Rows of each task, and tokens of an answer: a random model's thousandth token tells no more than its sixteenth."""
MATH = ["algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra", "precalculus"]
ASKED = {
    "punctuation:no_comma": {},
    "keywords:existence": {"keywords": ["tide", "moon"]},
    "length_constraints:number_words": {"num_words": 3, "relation": "at least"},
    "startend:end_checker": {"end_phrase": "That is all."},
    "detectable_content:number_placeholders": {"num_placeholders": 2},
}
"""Instructions that need no tables of a language, with their arguments."""


def all_rows() -> Iterator[tuple[str, str, str, list[dict[str, Any]]]]:
    """(hub id, configuration, split, rows) of every data set that the tasks read; one row more than is asked."""
    for split in ("validation", "test"):
        yield "TIGER-Lab/MMLU-Pro", "default", split, [knowledge(i) for i in range(LIMIT + 1)]
    for file in sorted((HOME / "bbh_mc").glob("[!_]*.yaml")):
        task = yaml.safe_load(file.read_text())
        choices = task["doc_to_choice"]
        rows = [{"input": f"Case {i} of {task['dataset_name']}: which?", "target": choices[i % len(choices)]} for i in range(LIMIT + 1)]
        yield "SaylorTwift/bbh", task["dataset_name"], "test", rows
    for n, name in enumerate(("gpqa_diamond", "gpqa_extended", "gpqa_main")):
        yield "Idavidrein/gpqa", name, "train", [science(n * 10 + i) for i in range(LIMIT + 1)]
    for n, name in enumerate(MATH):
        for split in ("train", "test"):
            yield "DigitalLearningGmbH/MATH-lighteval", name, split, [mathematics(n * 10 + i, name) for i in range(LIMIT + 3)]
    yield "wis-k/instruction-following-eval", "default", "train", [instruction(i) for i in range(LIMIT + 1)]
    for split in ("murder_mysteries", "object_placements", "team_allocation"):
        yield "TAUR-Lab/MuSR", "default", split, [story(i, split) for i in range(LIMIT + 1)]


def knowledge(i: int) -> dict[str, Any]:
    options = [f"{i + k} volts" for k in range(4 + i)]
    return {"question_id": i, "question": f"What is {i} plus 2, in volts?", "options": options, "answer": "C", "answer_index": 2}


def science(i: int) -> dict[str, Any]:
    wrong = {f"Incorrect Answer {k}": f" about {i * k + 1} [title] moles" for k in (1, 2, 3)}
    return {"Question": f"How many moles are in sample {i}?", "Correct Answer": f"exactly {i} moles", **wrong}


def mathematics(i: int, name: str) -> dict[str, Any]:
    level = "Level 3" if i % 4 == 1 else "Level 5"  # the tasks keep Level 5
    return {"problem": f"Halve ${2 * i}$.", "level": level, "type": name, "solution": f"It is $\\frac{{{2 * i}}}{{2}}=\\boxed{{{i}}}$."}


def instruction(i: int) -> dict[str, Any]:
    names = [list(ASKED)[(i + k) % len(ASKED)] for k in range(1 + i % 2)]
    nothing = dict.fromkeys(key for arguments in ASKED.values() for key in arguments)
    kwargs = [{**nothing, **ASKED[name]} for name in names]
    return {"key": i, "prompt": f"Tell me about tide number {i}.", "instruction_id_list": names, "kwargs": kwargs}


def story(i: int, split: str) -> dict[str, Any]:
    names = ["Ann", "Bob", "Cho"][: 2 + i % 2]
    asked = {"narrative": f"A tale of {split}, part {i}. " + " and ".join(names) + " met.", "question": "Who was first?"}
    return {**asked, "choices": repr(names), "answer_index": i % 2, "answer_choice": names[i % 2]}


@pytest.fixture
def stand_ins(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Folders named as the hub's data sets, which the harness takes where it stands; and the `data:` map that sends raybench to their files."""
    configs: dict[str, dict[str, dict[str, str]]] = {}
    data: dict[str, Any] = {}
    for hub, config, split, rows in all_rows():
        folder = tmp_path / "hub" / hub / config
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        configs.setdefault(hub, {}).setdefault(config, {})[split] = f"{config}/{split}.jsonl"
        mapped = data.setdefault(hub if config == "default" else f"{hub}:{config}", {"path": str(folder), "splits": {}})
        mapped["splits"][split] = f"{split}.jsonl"
    for hub, parts in configs.items():
        listed = [
            {"config_name": name, "data_files": [{"split": s, "path": p} for s, p in splits.items()]} for name, splits in parts.items()
        ]
        (tmp_path / "hub" / hub / "README.md").write_text("---\n" + yaml.safe_dump({"configs": listed}) + "---\n")
    return tmp_path / "hub", data


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` keeps what a task made of its rows: shuffled options would be those of an earlier run."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def sentence_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """IFEval's code looks for tables of sentence ends, or downloads them; no instruction here wants them."""
    import nltk

    (tmp_path / "nltk" / "tokenizers" / "punkt_tab").mkdir(parents=True)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk")])


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_cache", "sentence_tables")
def test_the_leaderboard_gives_what_the_harness_gives(
    stand_ins: Any, checkpoints: dict[str, Path], harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, data = stand_ins

    found = ours(
        tmp_path / "run", checkpoints["llama"], hub, [{"name": "lm-eval/leaderboard", "sampling": {"max_tokens": WRITTEN}}],
        model={"chat_template": "auto", "fewshot_as_multiturn": True}, limit=LIMIT, data=data, lm_eval={},
    )  # fmt: skip

    monkeypatch.chdir(hub)
    seed_each_task(monkeypatch)
    expected = theirs(
        harness, checkpoints["llama"], HOME, ["leaderboard"], limit=LIMIT, gen_kwargs={"max_gen_toks": WRITTEN},
        apply_chat_template=True, fewshot_as_multiturn=True,
    )  # fmt: skip
    compare(found, expected)
    assert len(expected["samples"]) == 39
    assert {len(samples) for samples in expected["samples"].values()} == {LIMIT}
    assert set(expected["groups"]) == GROUPS


def seed_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPQA shuffles its options while it is loaded. The harness seeds once before all tasks, raybench before each, so that none depends on the others."""
    from lm_eval.tasks._factory import TaskFactory

    build = TaskFactory._build_task

    def seeded(*args: Any) -> Any:
        random.seed(0)
        np.random.seed(1234)
        return build(*args)

    monkeypatch.setattr(TaskFactory, "_build_task", seeded)
