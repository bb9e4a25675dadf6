# The server in a container. Written without a container engine at hand: it has not been built yet.
#
#   docker build --tag nas .
#   docker run --rm --publish 8000:8000 --volume "$PWD/runs/NAME/export:/models:ro" nas
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
ENV NAS_MODEL=/models/the_nas_model.pth
EXPOSE 8000
STOPSIGNAL SIGTERM

# /health/ready where the server has it, else /health; both are 200 only with a model.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.error as e, urllib.request as r\ntry: r.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)\nexcept e.HTTPError as error:\n    if error.code != 404: raise\n    r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]

CMD ["python", "-m", "uvicorn", "serve.main:app", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "20"]
