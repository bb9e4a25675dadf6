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
from serve.limits import BodyLimit
from serve.routes import router
from serve.service import Service, start
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
        app.state.service = await to_thread.run_sync(start, chosen)
        yield

    app = FastAPI(
        title="nas",
        description=RESEARCH_USE,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would be an answer outside the one error shape
        redoc_url=None,
    )
    app.state.service = Service()
    app.include_router(router)
    install_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, limit=lambda: app.state.service.settings.max_upload_bytes)
    app.add_middleware(ErrorBoundary)
    return app


app = create_app()
