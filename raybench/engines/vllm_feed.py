"""One thread that keeps a vLLM engine busy: callers hand in requests and wait, the engine always sees those of all callers together."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raybench.core.errors import EngineDead
from raybench.core.types import ErrorCode
from raybench.engines.fit import PromptError
from raybench.engines.vllm_logs import tail_of

_WATCH_S = 0.5
"""Between two looks whether the engine's process is alive; vLLM's own client waits for a dead one for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request to vLLM."""

    tokens: list[int]
    """The prompt."""
    params: Any
    """vllm.SamplingParams."""


@dataclass(slots=True)
class _Batch:
    questions: Sequence[Question]
    answers: list[Any]
    num_open: int
    future: Future[list[Any]] = field(default_factory=Future)


def refused(error: ValueError) -> PromptError:
    """Why vLLM refused a request, for its row."""
    return PromptError(ErrorCode.REFUSED, f"vLLM refused the request: {' '.join(str(error).split())[:300]}")


class Feed:
    """Owns an LLMEngine: nobody else may touch it. Requests keep their order; those of a second caller follow at once, without a gap."""

    def __init__(self, engine: Any, log: Path, *, adapter: Any = None) -> None:
        """Begin.

        Args:
            engine: vllm.v1.engine.llm_engine.LLMEngine.
            log: Where its processes write; its end is quoted when it dies.
            adapter: vllm.lora.request.LoRARequest that every question goes through; None: the weights alone.
        """
        self._engine = engine
        self._log = log
        self._adapter = adapter
        self._changed = threading.Condition()
        self._inbox: deque[_Batch | tuple[Callable[[Any], Any], Future[Any]]] = deque()
        self._live: dict[str, tuple[_Batch, int]] = {}
        self._calling: Future[Any] | None = None
        self._names = itertools.count()
        self._dead: str | None = None
        self._closing = False
        self.num_steps = 0
        """Answers of the engine's process so far: rises while it works."""
        self._worker = threading.Thread(target=self._work, name="raybench-vllm", daemon=True)
        self._worker.start()
        self._watcher = threading.Thread(target=self._watch, name="raybench-vllm-watch", daemon=True)
        self._watcher.start()

    def ask(self, questions: Sequence[Question]) -> list[Any]:
        """Answers in order: each a vllm.RequestOutput, or the ValueError by which vLLM refused the request.

        Raises:
            EngineDead: with the end of the engine's log.
        """
        if not questions:
            return []
        batch = _Batch(questions, [None] * len(questions), len(questions))
        self._put(batch)
        return batch.future.result()

    def call(self, function: Callable[[Any], Any]) -> Any:
        """`function(engine)` in the thread that owns the engine, while nothing else runs there; what it returns or raises.

        Raises:
            EngineDead: when the engine has died.
        """
        future: Future[Any] = Future()
        self._put((function, future))
        return future.result()

    def close(self) -> None:
        """End the engine and its processes. Called once."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._worker.join(timeout=30)
        shutdown = getattr(self._engine.engine_core, "shutdown", None)
        if shutdown is not None:
            shutdown()

    def _put(self, item: Any) -> None:
        with self._changed:
            if self._dead is not None:
                raise EngineDead(self._dead)
            self._inbox.append(item)
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while self._take():
                if self._live:
                    for output in self._engine.step():
                        if output.finished:
                            self._finish(output.request_id, output)
                    self.num_steps += 1
        except Exception as error:  # whatever it was, the engine is in an unknown state
            self._die(self._cause(error))
        else:
            self._die("the engine was closed")

    def _take(self) -> bool:
        """Hand what came in to the engine; waits while there is nothing to do. False at the end."""
        while True:
            with self._changed:
                while not self._inbox and not self._live and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return False
                if not self._inbox:
                    return True
                item = self._inbox.popleft()
            if isinstance(item, _Batch):
                self._add(item)
            else:
                self._call(*item)

    def _call(self, function: Callable[[Any], Any], future: Future[Any]) -> None:
        self._calling = future
        try:
            result = function(self._engine)
        except Exception as error:
            if self._is_gone():
                raise  # the future is among those that are told
            future.set_exception(error)
        else:
            future.set_result(result)
        self._calling = None

    def _add(self, batch: _Batch) -> None:
        for i, question in enumerate(batch.questions):
            name = str(next(self._names))
            self._live[name] = batch, i
            try:
                self._engine.add_request(name, {"prompt_token_ids": question.tokens}, question.params, lora_request=self._adapter)
            except ValueError as error:
                self._finish(name, error)

    def _finish(self, name: str, answer: Any) -> None:
        batch, i = self._live.pop(name)
        batch.answers[i] = answer
        batch.num_open -= 1
        if batch.num_open == 0:
            batch.future.set_result(batch.answers)

    def _is_gone(self) -> bool:
        resources = getattr(self._engine.engine_core, "resources", None)
        return bool(getattr(resources, "engine_dead", False))

    def _watch(self) -> None:
        """Notice that the engine's process is gone, whatever the working thread is waiting for."""
        queue = getattr(self._engine.engine_core, "outputs_queue", None)
        while queue is not None:
            with self._changed:
                self._changed.wait(timeout=_WATCH_S)
                if self._closing or self._dead is not None:
                    return
            if self._is_gone():
                queue.put_nowait(RuntimeError("its process ended"))
                self._worker.join(timeout=2 * _WATCH_S)  # it may wait for an answer that never comes
                self._die(self._cause(RuntimeError("its process ended")))
                return

    def _die(self, message: str) -> None:
        """Nothing more can be asked; everyone who waits is told."""
        with self._changed:
            self._dead = self._dead or message
            waiting = [*self._inbox, *{id(batch): batch for batch, _ in self._live.values()}.values()]
            self._inbox.clear()
            self._live.clear()
            self._changed.notify_all()
        futures = [item.future if isinstance(item, _Batch) else item[1] for item in waiting]
        for future in [*futures, *([self._calling] if self._calling is not None else [])]:
            if not future.done():
                future.set_exception(EngineDead(self._dead))

    def _cause(self, error: Exception) -> str:
        text = "its process ended" if self._is_gone() else " ".join(str(error).split())[:300].rstrip(".")
        return f"vLLM's engine died: {text or type(error).__name__}. The end of its log: {tail_of(self._log)}"
