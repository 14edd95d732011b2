# syntax=docker/dockerfile:1
# The engine without a screen, for NVIDIA GPUs with driver 580 or newer.
#   docker build -t husai .
#   docker build -t husai --build-arg TORCH_INDEX=URL .               for an older driver: PyTorch's index of CUDA 12.6
#   docker build -t husai --build-arg TORCH_INDEX=URL --build-arg EXTRAS= .   without a GPU: its index of CPU builds
# The base is slim because torch's wheels bring CUDA; one with CUDA would hold it twice.
ARG PYTHON_IMAGE=python:3.12.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ARG TORCH_INDEX=
ARG EXTRAS=cuda
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY scripts/image_environment scripts/
COPY profiles profiles
COPY engine engine
COPY husai_tui husai_tui
RUN --mount=type=cache,target=/root/.cache/pip ./scripts/image_environment /opt/venv "${EXTRAS}" "${TORCH_INDEX}"

FROM ${PYTHON_IMAGE}
COPY scripts/image_system /tmp/
RUN /tmp/image_system && rm /tmp/image_system
COPY --from=builder /opt/venv /opt/venv
# HOME is in memory: the root is read-only, and nothing but runs should outlive the container.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    HUSAI_RUNS=/runs \
    LANG=C.UTF-8 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /runs
VOLUME /runs
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["husai-engine", "health"]
ENTRYPOINT ["tini", "--"]
CMD ["husai-engine", "up", "--foreground"]
