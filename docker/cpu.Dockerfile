# syntax=docker/dockerfile:1
# raybench on CPUs: Ray head, workers without GPUs, and the driver.
#   docker build -f docker/cpu.Dockerfile -t raybench:0.1.0-cpu .
# For production give the base by digest: --build-arg BASE=python:3.12-slim-bookworm@sha256:...
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS wheel
WORKDIR /source
RUN pip install --no-cache-dir build==1.4.0
COPY pyproject.toml README.md LICENSE ./
COPY raybench raybench
RUN python -m build --wheel --outdir /wheel

FROM ${BASE} AS environment
# Empty: torch from the default index, which is a build for CUDA of several GB. An index of CPU builds makes the image small.
ARG TORCH_INDEX=
RUN python -m venv /opt/raybench
ENV PATH=/opt/raybench/bin:$PATH
COPY constraints.txt /tmp/constraints.txt
# What changes seldom comes first: a release of raybench then costs a few MB to pull.
RUN pip install --no-cache-dir -c /tmp/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0
# hadolint ignore=DL3059
RUN pip install --no-cache-dir -c /tmp/constraints.txt "ray[default]==2.60.0"
COPY --from=wheel /wheel /tmp/wheel
RUN pip install --no-cache-dir -c /tmp/constraints.txt /tmp/wheel/*.whl

FROM ${BASE}
# A number, so that Kubernetes can tell that it is not root; group 0 and group-writable folders fit platforms that choose the user themselves.
RUN useradd --uid 2000 --gid 0 --create-home --home-dir /home/raybench raybench \
    && chmod g+rwX /home/raybench \
    && install -d -m 0775 -o 2000 -g 0 /data
COPY --from=environment /opt/raybench /opt/raybench
ENV PATH=/opt/raybench/bin:$PATH \
    HOME=/home/raybench \
    HF_HOME=/data/huggingface \
    RAYBENCH_CACHE_DIR=/data/raybench \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
USER 2000:0
WORKDIR /data
# Of a Ray node: answers without a token, covers the raylet, and on the head the GCS. `raybench run` has none: its exit code is its health.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:52365/api/healthz', timeout=3)"]
CMD ["raybench", "--help"]
