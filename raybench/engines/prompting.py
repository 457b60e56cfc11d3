"""From a request to tokens: plain text or chat template, special tokens, contexts and continuations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError
from raybench.core.types import ErrorCode, Message, Request
from raybench.engines.fit import PromptError


class Prompter:
    """Renders and encodes requests for one tokenizer and one checkpoint's chat settings. Follows lm-evaluation-harness 0.4.13."""

    def __init__(self, tokenizer: Any, checkpoint: Checkpoint) -> None:
        """Take the chat settings of `checkpoint`.

        Raises:
            CheckpointError: when the tokenizer has neither BOS nor EOS, or a chat template is asked for and there is none.
        """
        from jinja2 import TemplateError

        self._template_errors = (TemplateError, TypeError, ValueError)
        self._tokenizer = tokenizer
        self._checkpoint = checkpoint
        prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if prefix is None:
            raise CheckpointError(
                f"checkpoint '{checkpoint.uri}': its tokenizer has neither a BOS nor an EOS token, one of which stands before a text without context. Set one in tokenizer_config.json."
            )
        self.prefix_id: int = prefix
        """Stands where there is no context: BOS, or EOS where there is none."""
        self._prefix_text: str = tokenizer.decode([prefix])
        if checkpoint.chat_template == "auto" and not tokenizer.chat_template:
            raise CheckpointError(
                f"checkpoint '{checkpoint.uri}': chat_template is 'auto', but its tokenizer carries none. Give a Jinja file as chat_template, or 'none' for plain prompts."
            )

    def is_chat(self, request: Request) -> bool:
        """Whether the chat template is applied: to all but rolling texts and bare prompts."""
        return self._checkpoint.chat_template is not None and not request.is_bare

    def delimiter(self, request: Request) -> str:
        """Between context and answer: under a chat template the turn takes its place (lm_eval api/task.py, construct_requests)."""
        is_open = bool(request.prefix) and not request.prefix[-1].isspace()  # the last message is continued behind a word
        return "" if self._checkpoint.chat_template is not None and not is_open else request.delimiter

    def messages(self, request: Request, answers: Sequence[str] = ()) -> list[Message]:
        """The conversation of a request (lm_eval api/task.py, fewshot_context and build_qa_turn).

        Args:
            request: What is asked.
            answers: The model's answers to the first turns, without the request's prefix; the last message asks the turn after them.
        """
        if request.messages:
            return list(request.messages)
        system = join(self._checkpoint.system_prompt or "", request.description, request.separator)
        said = [Message(role="system", content=system)] if system else []
        if self._checkpoint.fewshot_as_multiturn:
            for shot in request.shots:
                said += [Message(role="user", content=shot.question), Message(role="assistant", content=shot.answer)]
            said.append(Message(role="user", content=request.prompt))
        else:
            question = request.context.removeprefix(request.description)
            if request.prefix:
                question = question.removesuffix(request.gap(request.prompt, request.prefix) + request.prefix)
            said.append(Message(role="user", content=question))
        if request.prefix and not answers:
            return [*said, Message(role="assistant", content=request.prefix)]
        for number, answer in enumerate(answers):
            answer = answer if number else request.prefix + answer
            said += [Message(role="assistant", content=answer), Message(role="user", content=request.turns[number])]
        return said

    def text(self, request: Request, answers: Sequence[str] = ()) -> str:
        """The whole prompt as the model sees it.

        Args:
            request: What is asked.
            answers: The model's answers to the first turns, without the request's prefix; the prompt is that of the turn after them. Without a
                chat template, turns stand behind each other as few-shot examples do.

        Raises:
            PromptError: TEMPLATE, when the chat template refuses the messages or leaves the system message out.
        """
        if not self.is_chat(request):
            text = request.context
            for number, answer in enumerate(answers):
                gap = "" if request.prefix and number == 0 else request.delimiter
                text += f"{gap}{answer}{request.separator}{request.turns[number]}"
            return text
        template = self._checkpoint.chat_template
        messages = self.messages(request, answers)
        is_continued = messages[-1].role == "assistant"
        try:
            rendered = self._tokenizer.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in messages],
                chat_template=None if template == "auto" else template,
                tokenize=False,
                add_generation_prompt=not is_continued,
                continue_final_message=is_continued,
                **self._checkpoint.chat_template_kwargs,
            )
        except self._template_errors as error:
            raise PromptError(
                ErrorCode.TEMPLATE, f"the chat template refused the messages ({', '.join(m.role for m in messages)}): {error}"
            ) from error
        if messages[0].role == "system" and messages[0].content.strip() not in rendered:
            raise PromptError(
                ErrorCode.TEMPLATE,
                "the chat template leaves the system message out; put it into the task's prompt, or give another template.",
            )
        return str(rendered)

    def encode(self, text: str, *, is_chat: bool, special: bool = True) -> list[int]:
        """Tokens of a text. Special tokens are added as the tokenizer does, but never twice, and never under a chat template."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PromptError(
                ErrorCode.REFUSED, f"the text has a lone surrogate at character {error.start} and is no Unicode text."
            ) from error
        add = special and not is_chat and not text.startswith(self._prefix_text)
        return list(self._tokenizer.encode(text, add_special_tokens=add))

    def prompt(self, request: Request, answers: Sequence[str] = ()) -> list[int]:
        """Tokens of the prompt of a generation, after `answers` to its first turns; the prefix token alone where it is empty."""
        return self.encode(self.text(request, answers), is_chat=self.is_chat(request)) or [self.prefix_id]

    def pairs(self, request: Request) -> tuple[list[int], list[list[int]]]:
        """Tokens of the context and of each continuation (lm_eval api/model.py, loglikelihood and _encode_pair).

        White space at the end of the context moves to the continuation, whose tokens are those of the joined text behind the context's.

        Raises:
            PromptError: EMPTY, when there is no continuation or one has no tokens.
        """
        context, is_chat = self.text(request), self.is_chat(request)
        texts = [self.delimiter(request) + c for c in request.continuations]
        stripped = context.rstrip()
        head = self.encode(stripped, is_chat=is_chat) if stripped else []
        if head:
            space = context[len(stripped) :]
            tails = [self.encode(stripped + space + t, is_chat=is_chat)[len(head) :] for t in texts]
        else:
            head = [self.prefix_id]
            tails = [self.encode(context + t, is_chat=is_chat, special=False) for t in texts]
            tails = [t[1:] if t[:1] == head else t for t in tails]
        if not tails or not all(tails):
            where = next((repr(t[:40]) for t, ids in zip(texts, tails, strict=True) if not ids), "the list of continuations")
            raise PromptError(ErrorCode.EMPTY, f"there is nothing to score: {where} has no tokens.")
        return head, tails

    def rolling(self, request: Request) -> list[int]:
        """Tokens of a text to be scored, without the prefix token, which stands before it once and not twice.

        Raises:
            PromptError: EMPTY, when the text has no tokens.
        """
        tokens = self.encode(request.prompt, is_chat=False, special=False)
        tokens = tokens[1:] if tokens[:1] == [self.prefix_id] else tokens
        if not tokens:
            raise PromptError(ErrorCode.EMPTY, "there is nothing to score: the text has no tokens.")
        return tokens


def join(first: str, second: str, separator: str) -> str:
    """Both texts, with the separator between them unless there is white space already (lm_eval api/utils.py, maybe_delimit)."""
    if not first or not second:
        return first or second
    return first + second if first[-1].isspace() or second[0].isspace() else first + separator + second
