"""The thread that feeds vLLM, driven by a stand-in with LLMEngine's three methods: the failures of the real one cannot be timed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raybench.core.errors import EngineDead
from raybench.engines.vllm_feed import Feed, Question
from raybench.engines.vllm_logs import tail_of


class Echo:
    """Answers each request with its tokens, one a step; what the tests do to it happens in `step`."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, list[int]]] = []
        self.most_waiting = 0
        self.dies: Exception | None = None
        self.hangs = False
        self.engine_core = SimpleNamespace(outputs_queue=queue.Queue(), resources=SimpleNamespace(engine_dead=False), shutdown=lambda: None)
        self.threads: set[int] = set()

    def add_request(self, name: str, prompt: dict[str, list[int]], params: Any, lora_request: Any) -> None:
        self.threads.add(threading.get_ident())
        if params == "refuse":
            raise ValueError("no such token")
        self.waiting.append((name, prompt["prompt_token_ids"]))

    def step(self) -> list[Any]:
        self.threads.add(threading.get_ident())
        self.most_waiting = max(self.most_waiting, len(self.waiting))
        if self.dies is not None:
            raise self.dies
        if self.hangs:
            raise self.engine_core.outputs_queue.get()  # as vLLM's client: until somebody puts something in
        name, tokens = self.waiting.pop(0)
        return [SimpleNamespace(request_id=name, finished=True, tokens=tokens)]


@pytest.fixture
def engine() -> Echo:
    return Echo()


@pytest.fixture
def feed(engine: Echo, tmp_path: Path) -> Iterator[Feed]:
    (tmp_path / "engine.log").write_text("INFO all is well\nERROR worker: RuntimeError: the sky fell\n")
    feed = Feed(engine, tmp_path / "engine.log")
    yield feed
    feed.close()


def questions(*numbers: int, params: Any = None) -> list[Question]:
    return [Question(tokens=[n], params=params) for n in numbers]


def test_answers_come_in_the_order_of_the_questions(feed: Feed) -> None:
    assert [a.tokens for a in feed.ask(questions(3, 1, 2))] == [[3], [1], [2]]
    assert feed.ask([]) == []
    assert feed.num_steps == 3


def test_only_one_thread_touches_the_engine_and_callers_share_it(feed: Feed, engine: Echo) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: [a.tokens for a in feed.ask(questions(*range(n, n + 50)))], range(0, 400, 100)))

    assert found == [[[k] for k in range(n, n + 50)] for n in range(0, 400, 100)]
    assert len(engine.threads) == 1


def test_a_refused_question_is_its_own_error(feed: Feed) -> None:
    good, bad = feed.ask([*questions(1), *questions(2, params="refuse")])

    assert good.tokens == [1]
    assert isinstance(bad, ValueError)


def test_a_call_runs_between_requests_and_may_fail(feed: Feed, engine: Echo) -> None:
    assert feed.call(lambda e: e is engine)
    with pytest.raises(ZeroDivisionError):
        feed.call(lambda e: 1 / 0)
    assert feed.ask(questions(1))[0].tokens == [1]


def test_who_waits_when_the_engine_dies_is_told_with_the_end_of_its_log(feed: Feed, engine: Echo) -> None:
    engine.dies = RuntimeError("core gone")

    with pytest.raises(EngineDead, match=r"core gone\. The end of its log: .*the sky fell"):
        feed.ask(questions(1, 2))
    with pytest.raises(EngineDead):
        feed.ask(questions(3))
    with pytest.raises(EngineDead):
        feed.call(lambda e: e)


def test_a_silent_death_is_noticed(feed: Feed, engine: Echo) -> None:
    engine.hangs = True
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(feed.ask, questions(1))
        engine.engine_core.resources.engine_dead = True

        with pytest.raises(EngineDead, match="its process ended"):
            asked.result(timeout=30)


def test_a_call_to_an_engine_that_dies_of_it_does_not_wait_for_ever(feed: Feed, engine: Echo) -> None:
    never = threading.Event()

    def stuck(engine: Echo) -> None:
        engine.engine_core.resources.engine_dead = True
        never.wait(timeout=60)

    with pytest.raises(EngineDead, match="its process ended"):
        feed.call(stuck)
    never.set()


def test_closing_tells_who_still_waits(engine: Echo, tmp_path: Path) -> None:
    feed = Feed(engine, tmp_path / "engine.log")
    begun, go_on = threading.Event(), threading.Event()

    def busy(engine: Echo) -> None:
        begun.set()
        go_on.wait(timeout=60)

    with ThreadPoolExecutor(2) as threads:
        threads.submit(feed.call, busy)
        begun.wait(timeout=60)
        asked = threads.submit(feed.ask, questions(1))
        closing = threading.Thread(target=feed.close)
        closing.start()
        go_on.set()
        closing.join(timeout=60)

        with pytest.raises(EngineDead, match="closed"):
            asked.result(timeout=60)


def test_the_tail_of_a_log_begins_with_its_errors(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"

    assert tail_of(log) == "(none)"
    log.write_text("")
    assert tail_of(log) == "(empty)"
    log.write_text("\n".join(["INFO begin", "ValueError: too big", *(f"INFO line {i}" for i in range(50))]))
    assert tail_of(log).startswith("ValueError: too big | INFO line 38")
