"""Whether a sample can be asked and scored, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

from raybench.core.errors import ConfigError, DataError
from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Form


def check(task: str, kind: Kind, form: Form, chunk: Sequence[Sample], prompts: Sequence[Prompt]) -> None:
    """Refuse samples that could not be asked or scored.

    Args:
        task: Name, for messages.
        kind: What the engine is asked for.
        form: How.
        chunk: The samples of a shard.
        prompts: What the form makes of each.

    Raises:
        DataError: names the first sample at fault.
        ConfigError: when the form asks for what its prompts cannot give.
    """
    is_choice = kind is Kind.LOGLIKELIHOOD
    for sample, prompt in zip(chunk, prompts, strict=True):
        label = sample.label
        if type(sample.id) is not str or not sample.id:
            raise DataError(f"task '{task}': a sample has the id {sample.id!r}. Expected a text.")
        where = f"task '{task}', sample '{sample.id}'"
        _check_head(where, kind, form, sample, prompt)
        _check_contexts(where, kind, form, prompt)
        if (prompt.turns and kind is not Kind.GENERATE) or (prompt.prefix and kind is Kind.ROLLING):
            raise DataError(
                f"{where}: a '{kind}' request has no place for further turns or a prefix. "
                "Expected turns only with generate, a prefix only with generate or loglikelihood."
            )
        if (label is not None and not (type(label) is int and 0 <= label < len(sample.choices))) or (
            is_choice and not prompt.continuations
        ):
            found = f"label {label!r} of {len(sample.choices)} choices, {len(prompt.continuations)} continuations"
            raise DataError(f"{where}: {found}. Expected options, and a label that is the index of one.")


_PAIRED = frozenset({Kind.CLASSIFY, Kind.SPAN})


def _check_head(where: str, kind: Kind, form: Form, sample: Sample, prompt: Prompt) -> None:
    """What only some kinds have stands where it belongs: a second text, words, candidates, label names."""
    if (prompt.pair is not None and kind not in _PAIRED) or (prompt.pair is None and kind is Kind.SPAN):
        raise DataError(f"{where}: a '{kind}' request {'needs a passage' if kind is Kind.SPAN else 'has no second text'} (`pair`).")
    if (prompt.words is None) == (kind is Kind.TAG):
        raise DataError(f"{where}: a '{kind}' request {'needs' if kind is Kind.TAG else 'has no'} `words`.")
    if prompt.words is not None and sample.targets and len(sample.targets) != len(prompt.words):
        raise DataError(f"{where}: {len(sample.targets)} true tags for {len(prompt.words)} words. Expected one a word.")
    labels = form.labels
    if kind is Kind.CLASSIFY and prompt.continuations:
        _check_options(where, form, sample, prompt)
        return
    is_renamed = len(sample.choices) == len(labels) and not set(sample.choices) & set(labels)  # options of a prompt, labels of a head
    if kind is Kind.CLASSIFY and labels and sample.choices and sample.choices != labels and not is_renamed:
        found = f"the sample's choices are {', '.join(sample.choices)}, the form's labels {', '.join(labels)}"
        raise DataError(
            f"{where}: {found}. Expected the same names in the same order, or as many quite different ones: a label's number means both."
        )


def _check_options(where: str, form: Form, sample: Sample, prompt: Prompt) -> None:
    """Second texts that a classifier reads one by one: the sample's options, by a head whose answer puts them in an order."""
    if len(form.labels) not in (0, 2) or prompt.pair is not None or len(prompt.continuations) != len(sample.choices):
        found = f"{len(prompt.continuations)} second texts for {len(sample.choices)} choices, {len(form.labels)} labels"
        raise DataError(
            f"{where}: {found}. Expected a second text for each choice, no `pair`, and no labels (one value) or two, the right one last."
        )


def _check_contexts(where: str, kind: Kind, form: Form, prompt: Prompt) -> None:
    """Options that are questions: of a likelihood, two or more, one continuation, nothing that compares continuations; or texts of `embed`."""
    if not prompt.contexts or (kind is Kind.EMBED and not prompt.continuations):
        return
    if kind is not Kind.LOGLIKELIHOOD or len(prompt.contexts) < 2 or len(prompt.continuations) != 1:
        found = f"{len(prompt.contexts)} contexts and {len(prompt.continuations)} continuations of a '{kind}' request"
        raise DataError(f"{where}: {found}. Expected at least 2 contexts, one continuation, and kind loglikelihood.")
    if form.has_unconditional:
        raise ConfigError(
            f"{where}: its options differ in the question, so that one continuation stands behind all of them: nothing to score without the "
            "question. Use acc, not acc_mutual_info."
        )
