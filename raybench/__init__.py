"""raybench: distributed evaluation of language models.

    import raybench
    report = raybench.run(raybench.load_config("configs/quickstart.yaml"))
    for result in report.results.results:
        print(result.model, result.task, result.metric, result.estimate.value)

The names below are the public interface; they are loaded when they are first used, so that `import raybench` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from raybench.core.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from raybench.core.config import RunConfig
    from raybench.core.config_file import load as load_config
    from raybench.core.config_file import parse as parse_config
    from raybench.core.errors import RaybenchError
    from raybench.core.pool import Pool
    from raybench.core.protocols import Engine, EngineSpec, Metric, Scored
    from raybench.core.results import Estimate, Result, Results
    from raybench.core.types import Kind, Prediction, Prompt, Request, Sample, Sampling
    from raybench.driver.run import Report, run
    from raybench.driver.score import score_run as score
    from raybench.driver.survey import plan_run as plan
    from raybench.engines.fake import FakeEngine
    from raybench.report.formats import render
    from raybench.tasks.task import Fewshot, Form, Group, Source, Task

_WHERE = {
    "Engine": "raybench.core.protocols:Engine",
    "EngineSpec": "raybench.core.protocols:EngineSpec",
    "Estimate": "raybench.core.results:Estimate",
    "FakeEngine": "raybench.engines.fake:FakeEngine",
    "Fewshot": "raybench.tasks.task:Fewshot",
    "Form": "raybench.tasks.task:Form",
    "Group": "raybench.tasks.task:Group",
    "Kind": "raybench.core.types:Kind",
    "Metric": "raybench.core.protocols:Metric",
    "Pool": "raybench.core.pool:Pool",
    "Prediction": "raybench.core.types:Prediction",
    "Prompt": "raybench.core.types:Prompt",
    "RaybenchError": "raybench.core.errors:RaybenchError",
    "Report": "raybench.driver.run:Report",
    "Request": "raybench.core.types:Request",
    "Result": "raybench.core.results:Result",
    "Results": "raybench.core.results:Results",
    "RunConfig": "raybench.core.config:RunConfig",
    "Sample": "raybench.core.types:Sample",
    "Sampling": "raybench.core.types:Sampling",
    "Scored": "raybench.core.protocols:Scored",
    "Source": "raybench.tasks.task:Source",
    "Task": "raybench.tasks.task:Task",
    "load_config": "raybench.core.config_file:load",
    "parse_config": "raybench.core.config_file:parse",
    "plan": "raybench.driver.survey:plan_run",
    "render": "raybench.report.formats:render",
    "run": "raybench.driver.run:run",
    "score": "raybench.driver.score:score_run",
}

__all__ = [
    "Engine",
    "EngineSpec",
    "Estimate",
    "FakeEngine",
    "Fewshot",
    "Form",
    "Group",
    "Kind",
    "Metric",
    "Pool",
    "Prediction",
    "Prompt",
    "RaybenchError",
    "Report",
    "Request",
    "Result",
    "Results",
    "RunConfig",
    "Sample",
    "Sampling",
    "Scored",
    "Source",
    "Task",
    "__version__",
    "load_config",
    "parse_config",
    "plan",
    "render",
    "run",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'raybench' has no attribute '{name}'")
    module, _, attribute = _WHERE[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
