# The server in a container. Written without a container engine at hand: it has not been built yet.
#
#   docker build --tag nas .
#   docker run --rm --publish 8000:8000 --volume "$PWD/runs/NAME/export:/models/export:ro" nas
FROM python:3.11-slim-bookworm

# Wheels of torch without CUDA; for a GPU give --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
COPY pyproject.toml constraints.txt README.md ./
COPY nas nas
COPY search_spaces search_spaces
COPY serve serve
# torch comes first and from its own index: its CPU wheels are not on PyPI. The rest finds it there.
RUN torch="$(grep -E '^torch==' constraints.txt)" \
    && vision="$(grep -E '^torchvision==' constraints.txt)" \
    && pip install --index-url "$TORCH_INDEX" "$torch" "$vision" \
    && pip install --constraint constraints.txt ".[dicom]" \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin nas

USER 10001
ENV NAS_MODEL=/models/export/the_nas_model.pth
EXPOSE 8000
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]

# No limit on the end: every request ends by itself within twice NAS_DEADLINE_S (30 s each). Whoever
# stops the container should wait as long: docker stop --time 65.
CMD ["python", "-m", "uvicorn", "serve.main:app", "--host", "0.0.0.0", "--port", "8000"]
