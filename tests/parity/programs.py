"""The two programs that parity tests run side by side, and the rows and small checkpoints that both get."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.protocols import Engine, EngineSpec

ROWS = Path(__file__).parent / "rows"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def make_checkpoint(folder: Path, name: str) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    core.train([str(f) for f in sorted(ROWS.glob("*.jsonl"))], trainer)  # without those in folders, which came later
    if name == "llama-bos":
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    begin = "</s>" if name == "gpt2" else "<s>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=begin, eos_token="</s>", additional_special_tokens=SPECIAL[2:])
    tokenizer.chat_template = ("{{ bos_token }}" if name == "llama-bos" else "") + TEMPLATE
    size, ends = core.get_vocab_size(), {"bos_token_id": SPECIAL.index(begin), "eos_token_id": 1}
    torch.manual_seed(0)
    model: Any
    if name == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=size, n_embd=64, n_layer=2, n_head=4, n_positions=2048, initializer_range=0.2, **ends)
        )
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=size,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                initializer_range=0.3,
                **ends,
            )
        )
    model.float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How all tasks are asked."""

    model: str
    shots: int = 0
    chat: bool = False
    multiturn: bool = True
    """Examples as turns of their own; only with a chat template."""
    system: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One task of both programs on one file of rows."""

    task: str
    file: str
    """The harness's task file, below lm_eval/tasks."""
    source: str
    """The hub id that raybench's `data:` sends to the rows."""
    rows: Path
    overrides: dict[str, Any] = field(default_factory=dict)
    """Of the harness's task."""
    shots: bool = True
    """Whether the task takes examples."""
    ours: dict[str, Any] = field(default_factory=dict)
    """Of raybench's task entry."""


class Harness:
    """Runs the harness's own task files on local rows; one loaded model for all."""

    def __init__(self, lm_eval: Any, cache: Path) -> None:
        self._lm_eval = lm_eval
        self._cache = cache
        self._models: dict[Any, Any] = {}

    def model(self, path: Path, **options: Any) -> Any:
        """The harness's hf backend with a checkpoint in float32, one request at a time."""
        from lm_eval.models.huggingface import HFLM

        key = (path, tuple(options.items()))
        if key not in self._models:
            self._models[key] = HFLM(pretrained=str(path), dtype="float32", device="cpu", batch_size=1, **options)
        return self._models[key]

    def task(self, case: Case, shots: int) -> dict[str, Any]:
        """The task's configuration, on the rows of the case: examples are the first others of the same rows."""
        from lm_eval.tasks._yaml_loader import load_yaml

        home = Path(self._lm_eval.__file__).parent / "tasks"
        config = dict(load_yaml(home / case.file, resolve_func=True))
        for key in ("tag", "group", "training_split", "validation_split", "test_split", "fewshot_split", "dataset_name"):
            config.pop(key, None)
        kind = "parquet" if case.rows.suffix == ".parquet" else "json"
        files = {"data_files": {"test": str(case.rows)}, "cache_dir": str(self._cache)}
        config |= {"task": case.task, "dataset_path": kind, "dataset_kwargs": files, "test_split": "test", "fewshot_split": "test"}
        num = shots if case.shots else 0
        config |= {"num_fewshot": num} | ({"fewshot_config": {"sampler": "first_n"}} if num else {})
        return config | case.overrides

    def run(self, path: Path, cases: list[Case], mode: Mode, *, limit: int | None = None, **options: Any) -> dict[str, Any]:
        """Samples and metrics of every task, by its `evaluate` (`simple_evaluate` first indexes 13,000 task files, and describes the machine after)."""
        import torch
        from lm_eval.api.task import ConfigurableTask

        tasks = {case.task: ConfigurableTask(config=self.task(case, mode.shots)) for case in cases}
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # more wait for each other on models this small
        try:
            return dict(
                self._lm_eval.evaluate(
                    lm=self.model(path, **options),
                    task_dict={"tasks": tasks, "groups": {}, "group_map": {}},
                    limit=limit,
                    log_samples=True,
                    bootstrap_iters=0,
                    apply_chat_template=mode.chat,
                    fewshot_as_multiturn=mode.chat and mode.multiturn,
                    system_instruction=mode.system,
                )
            )
        finally:
            torch.set_num_threads(threads)


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def engine_of(path: Path, *, chat_template: str | None = None, **options: Any) -> Engine:
    """Our engine with a checkpoint in float32."""
    from raybench.engines.registry import make_engine

    checkpoint = Checkpoint(uri=str(path), path=str(path), identity="x", chat_template=chat_template)
    return make_engine(EngineSpec(kind="pytorch", checkpoint=checkpoint, options={"dtype": "float32", "threads": 1, **options}))
