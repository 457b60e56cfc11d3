from __future__ import annotations

import subprocess
import sys

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import ENGINES
from raybench.core.errors import ConfigError
from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind
from raybench.engines.fake import FakeEngine
from raybench.engines.registry import TABLE, about, make_engine, serves


def spec(kind: str) -> EngineSpec:
    return EngineSpec(kind=kind, checkpoint=Checkpoint(uri="x"), options={})


def test_table_and_configuration_know_the_same_engines() -> None:
    assert set(TABLE) == set(ENGINES)
    assert all(about(kind) for kind in TABLE)


def test_an_engine_of_ones_own_is_named_by_its_class() -> None:
    assert isinstance(make_engine(spec("raybench.engines.fake:FakeEngine")), FakeEngine)
    assert serves("raybench.engines.fake:FakeEngine") == (Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING, Kind.CLASSIFY, Kind.FILL)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pytorhc", "Did you mean 'pytorch'"),
        ("no_such_module:Engine", "module 'no_such_module' is not installed"),
        ("raybench.engines.fake:Nothing", "has no 'Nothing'"),
        ("builtins:repr", "gave a str, which is no engine: it lacks kinds"),
    ],
)
def test_a_name_that_is_no_engine_is_explained(kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_engine(spec(kind))


@pytest.mark.parametrize(
    ("architectures", "num_kinds"),
    [
        ([], 3),  # unknown: taken as fitting
        (["LlamaForCausalLM"], 3),
        (["GPT2LMHeadModel"], 3),
        (["BertForSequenceClassification"], 1),
        (["T5ForConditionalGeneration"], 2),
        (["ViTForImageClassification"], 0),
    ],
)
def test_what_pytorch_serves_follows_from_the_architecture(architectures: list[str], num_kinds: int) -> None:
    assert len(serves("pytorch", architectures)) == num_kinds


def test_the_table_loads_nothing_heavy() -> None:
    code = "import sys; from raybench.engines import registry, loading, fake; registry.serves('pytorch'); print({'torch', 'transformers'} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
