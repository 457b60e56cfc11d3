# syntax=docker/dockerfile:1
# raybench with vLLM on NVIDIA GPUs: workers, and everything else where one image is wanted.
#   docker build -f docker/gpu.Dockerfile -t raybench:0.1.0-gpu .
# The base brings torch, transformers and vLLM for CUDA; nothing of it is moved, and no second CUDA is added.
ARG BASE=vllm/vllm-openai:v0.32.0
ARG BUILDER=python:3.12-slim-bookworm

FROM ${BUILDER} AS wheel
WORKDIR /source
RUN pip install --no-cache-dir build==1.4.0
COPY pyproject.toml README.md LICENSE ./
COPY raybench raybench
RUN python -m build --wheel --outdir /wheel

FROM ${BASE}
# hadolint ignore=DL3066
USER root
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Everything that the base has stays as it is.
RUN python3 -m pip list --format=freeze | grep -E '^[A-Za-z0-9._-]+==[0-9]' > /opt/base-constraints.txt \
    && python3 -m pip install --no-cache-dir -c /opt/base-constraints.txt "ray[default]==2.60.0"
COPY --from=wheel /wheel /opt/wheel
RUN python3 -m pip install --no-cache-dir -c /opt/base-constraints.txt /opt/wheel/*.whl \
    && install -d -m 0775 -o 2000 -g 0 /data /home/raybench
ENV HOME=/home/raybench \
    HF_HOME=/data/huggingface \
    RAYBENCH_CACHE_DIR=/data/raybench \
    VLLM_CACHE_ROOT=/data/vllm \
    VLLM_NO_USAGE_STATS=1 \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
USER 2000:0
WORKDIR /data
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:52365/api/healthz', timeout=3)"]
ENTRYPOINT []
CMD ["raybench", "--help"]
