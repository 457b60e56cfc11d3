"""MMLU: exam questions of 57 subjects with four options; the letter of the right one is to be predicted.

Paper: Hendrycks et al. 2020, "Measuring Massive Multitask Language Understanding", https://arxiv.org/abs/2009.03300
Data: cais/mmlu on the hub, configuration all, filtered by subject; 14,042 test questions, five examples a subject in `dev`. Licence: MIT.
Prompts, categories and the default of 0 examples: lm-eval 0.4.13, tasks/mmlu/default (the paper uses 5: set `shots: 5`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "c30699e8356da336a370243923dbaf21066bb9fe"
LETTERS = ("A", "B", "C", "D")

CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "stem": (
        "abstract_algebra", "anatomy", "astronomy", "college_biology", "college_chemistry", "college_computer_science",
        "college_mathematics", "college_physics", "computer_security", "conceptual_physics", "electrical_engineering",
        "elementary_mathematics", "high_school_biology", "high_school_chemistry", "high_school_computer_science",
        "high_school_mathematics", "high_school_physics", "high_school_statistics", "machine_learning",
    ),
    "humanities": (
        "formal_logic", "high_school_european_history", "high_school_us_history", "high_school_world_history", "international_law",
        "jurisprudence", "logical_fallacies", "moral_disputes", "moral_scenarios", "philosophy", "prehistory", "professional_law",
        "world_religions",
    ),
    "social_sciences": (
        "econometrics", "high_school_geography", "high_school_government_and_politics", "high_school_macroeconomics",
        "high_school_microeconomics", "high_school_psychology", "human_sexuality", "professional_psychology", "public_relations",
        "security_studies", "sociology", "us_foreign_policy",
    ),
    "other": (
        "business_ethics", "clinical_knowledge", "college_medicine", "global_facts", "human_aging", "management", "marketing",
        "medical_genetics", "miscellaneous", "nutrition", "professional_accounting", "professional_medicine", "virology",
    ),
}  # fmt: skip


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """The four answers stand in the question; what is scored are the letters."""
    return Sample(id=default_id, fields=row, choices=LETTERS, label=row["answer"])


def to_prompt(sample: Sample) -> Prompt:
    """The question with its lettered answers."""
    a, b, c, d = sample.fields["choices"]
    text = f"{sample.fields['question'].strip()}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nAnswer:"
    return Prompt(text=text, answer=None if sample.label is None else LETTERS[sample.label], continuations=LETTERS)


def _task(subject: str) -> Task:
    def source(split: str) -> Source:
        return Source(path="cais/mmlu", config="all", split=split, revision=REVISION, where={"subject": subject})

    spoken = subject.replace("_", " ")
    form = Form(
        to_prompt=to_prompt,
        metrics=("acc",),
        description=f"The following are multiple choice questions (with answers) about {spoken}.\n\n",
    )
    return Task(
        name=f"mmlu/{subject}",
        version="1",
        source=source("test"),
        to_sample=to_sample,
        forms={Kind.LOGLIKELIHOOD: form},
        fewshot=Fewshot(source=source("dev"), sampler="first_n"),
        about=f"exam questions: {spoken}",
        paper="https://arxiv.org/abs/2009.03300",
        licence="MIT",
    )


TASKS: tuple[Task, ...] = tuple(_task(subject) for subject in sorted(s for subjects in CATEGORIES.values() for s in subjects))
GROUPS: tuple[Group, ...] = (
    *(
        Group(
            name=f"mmlu/{category}",
            members=tuple(f"mmlu/{subject}" for subject in subjects),
            metric="acc",
            about=f"{len(subjects)} subjects of MMLU: {category.replace('_', ' ')}",
        )
        for category, subjects in CATEGORIES.items()
    ),
    Group(
        name="mmlu",
        members=tuple(f"mmlu/{category}" for category in CATEGORIES),
        metric="acc",
        about="57 subjects, every question counts the same",
    ),
)
