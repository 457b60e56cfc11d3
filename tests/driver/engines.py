"""Engines that break their promise, each in one way, and one that dies once: given to runs as `tests.driver.engines:Name`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

from raybench.core.errors import EngineError
from raybench.core.outputs import Generation
from raybench.core.protocols import Answers, EngineSpec
from raybench.core.types import Prediction, Request
from raybench.engines.fake import FakeEngine


class TooFew(FakeEngine):
    """Forgets the last answer of a shard."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        return super().run(requests)[:-1]


class TooMany(FakeEngine):
    """Gives the last answer of a shard twice."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        answers = super().run(requests)
        return [*answers, answers[-1]]


class Doubled(FakeEngine):
    """Gives the first answer in the place of the second."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        first, _, *others = super().run(requests)
        return [first, first, *others]


class Reordered(FakeEngine):
    """Answers from the last request to the first."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        return super().run(requests)[::-1]


class Foreign(FakeEngine):
    """Answers a question that nobody asked."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        first, *others = super().run(requests)
        return [replace(first, sample_id="nobody-asked"), *others]


class Silent(FakeEngine):
    """Gives a row with neither an answer nor an error."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        first, *others = super().run(requests)
        return [replace(first, output=None), *others]


class Buggy(FakeEngine):
    """Raises something that is no error of an engine."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        raise ZeroDivisionError("a mistake in the engine's code")


class Once(FakeEngine):
    """Fails at the shard that holds `sample_id` in the way `failure`, once over all processes: a file `marker` remembers it."""

    def __init__(self, spec: EngineSpec) -> None:
        own = ("marker", "sample_id", "failure")
        self._marker, self._sample_id, self._failure = (str(spec.options[name]) for name in own)
        super().__init__(replace(spec, options={k: v for k, v in spec.options.items() if k not in own}))

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        if any(request.sample_id == self._sample_id for request in requests) and not Path(self._marker).exists():
            Path(self._marker).touch()
            if self._failure in ("SIGKILL", "SIGSTOP"):
                os.kill(os.getpid(), signal.Signals[self._failure])
                Event().wait()  # another thread may take the signal: this one must not answer before it stops as well
            raise EngineError("fails once")
        return super().run(requests)


class NoRoom(FakeEngine):
    """Cannot be made: the machine is at fault, not the checkpoint."""

    def __init__(self, spec: EngineSpec) -> None:
        raise EngineError("no memory for the weights")


class Devices(FakeEngine):
    """Answers every question with the GPUs that its process may see."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        return [replace(p, output=Generation(text=devices)) for p in super().run(requests)]


class Short(FakeEngine):
    """Runs out of memory in the shard that holds the sample `choice-003`, and says with every shard that it shares nothing."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        is_struck = any(request.sample_id.endswith("-003") for request in requests)
        return Answers(
            super().run(requests), batch_tokens=512 if is_struck else 1024, is_budget_halved=is_struck, notices=["nothing is shared."]
        )


class Spread(FakeEngine):
    """Has a worker on each GPU of its placement group, as vLLM's Ray executor does; says in the file `marker` where they are."""

    def __init__(self, spec: EngineSpec) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = ray.util.get_current_placement_group()

        @ray.remote(num_cpus=0, num_gpus=1)
        def where() -> tuple[str, str]:
            return ray.get_runtime_context().get_node_id(), os.environ["CUDA_VISIBLE_DEVICES"]

        places = [PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i) for i in range(group.bundle_count)]
        found = ray.get([where.options(scheduling_strategy=place).remote() for place in places])
        Path(str(spec.options["marker"])).write_text(json.dumps(found))
        super().__init__(replace(spec, options={}))
