"""The application: ``python -m uvicorn serve.main:app``.

Importing this module defines the application and does nothing else: settings are read and the
model is loaded when the server starts.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from nas.bundle import RESEARCH_USE
from serve.errors import ErrorBoundary, install_handlers
from serve.headers import NoSniff
from serve.limits import BodyLimit
from serve.page import router as page_router
from serve.routes import router
from serve.service import Service, start
from serve.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Define the application.

    Args:
        settings: None reads them from the environment when the server starts.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        chosen = Settings.from_environment(os.environ) if settings is None else settings
        app.state.service = await to_thread.run_sync(start, chosen)
        yield

    app = FastAPI(
        title="nas",
        description=RESEARCH_USE,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would be an answer outside the one error shape
        docs_url=None,  # its page loads scripts from another host; /openapi.json stays
        redoc_url=None,
    )
    app.state.service = Service()
    app.include_router(router)
    app.include_router(page_router)
    install_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, limit=lambda: app.state.service.settings.max_upload_bytes)
    app.add_middleware(ErrorBoundary)
    app.add_middleware(NoSniff)
    return app


app = create_app()
