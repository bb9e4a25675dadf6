"""The application: ``python -m uvicorn serve.main:app``.

Importing this module defines the application and does nothing else: settings are read and the
model is loaded when the server starts.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from nas.bundle import RESEARCH_USE
from serve.errors import ErrorBoundary, install_handlers
from serve.headers import NoSniff
from serve.keys import Keys, describe_keys
from serve.limits import BodyLimit
from serve.metrics import Counting, Metrics
from serve.origins import Origins
from serve.page import router as page_router
from serve.request_ids import RequestIds
from serve.routes import router
from serve.service import Service, running
from serve.settings import Settings, warn_of_unknown


def create_app(settings: Settings | None = None) -> FastAPI:
    """Define the application.

    Args:
        settings: None reads them from the environment when the server starts.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        chosen = settings or Settings.from_environment(os.environ)
        if settings is None:
            warn_of_unknown(os.environ)
        # The counters stay those that the middleware counts in.
        app.state.service = service = Service(chosen, app.state.metrics)
        async with running(service):
            yield

    app = FastAPI(
        title="nas",
        description=RESEARCH_USE,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would be an answer outside the one error shape
        docs_url=None,  # its page loads scripts from another host; /openapi.json stays
        redoc_url=None,
    )
    app.state.metrics = Metrics()
    app.state.service = Service(metrics=app.state.metrics)
    app.include_router(router)
    app.include_router(page_router)
    install_handlers(app)
    describe_keys(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, limit=lambda: app.state.service.settings.max_upload_bytes)
    app.add_middleware(Keys, key=lambda: app.state.service.settings.api_key)
    app.add_middleware(ErrorBoundary)
    # Around the boundary, so that a page may read what went wrong and it is counted too.
    app.add_middleware(Origins, origins=lambda: app.state.service.settings.cors_origins)
    app.add_middleware(Counting, of=app)
    app.add_middleware(NoSniff)
    app.add_middleware(RequestIds)
    return app


app = create_app()
