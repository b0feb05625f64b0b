"""The web application: what stands before every request, who answers errors, and the routers of all rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from backstay import __version__
from backstay.server import problem
from backstay.server.access.answers import Answers
from backstay.server.access.routes import admin, api, pages
from backstay.server.access.shell import Access
from backstay.server.access.wall import Wall
from backstay.server.api import (
    agents,
    audit,
    balance,
    changes,
    document,
    estate,
    health,
    ips,
    journal,
    outside,
    runs,
    stream,
)
from backstay.server.api.feed import Feed
from backstay.server.audit.shell import Auditing
from backstay.server.console import router as console
from backstay.server.runs.shell import Runs
from backstay.server.settings import Settings
from backstay.server.shell import Server
from backstay.server.watch import routes as watch
from backstay.server.watch.count import Counting, Counts

OPENAPI_PATH = "/api/v1/openapi.json"


def routers() -> tuple[APIRouter, ...]:
    """Of all rooms. A new one is added here; each of its routes says who may (access/depends.py)."""
    return (
        agents.router,  # first: a thousand agents ask all the time, and routes are tried in their order
        pages.router,
        admin.router,
        api.router,
        console.router,
        audit.router,
        balance.router,
        changes.router,
        estate.router,
        ips.router,
        journal.router,
        outside.router,
        runs.router,
        watch.router,
        stream.router,
        health.router,
    )


def create_app(server: Server, settings: Settings) -> FastAPI:
    """The application over a server that runs. `app.state` has both, and `access`."""
    access = Access(server, settings)
    configuring = Runs(server, settings)
    auditing = Auditing(server, settings)
    counts = Counts()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with access.housekeeping(), configuring.running(), auditing.running():
            yield

    app = FastAPI(
        title="Backstay",
        version=__version__,
        openapi_url=OPENAPI_PATH,
        docs_url=None,  # they load scripts from elsewhere; docs/api.md tells what there is
        redoc_url=None,
        redirect_slashes=False,  # one address for one thing
        lifespan=lifespan,
    )
    app.state.server = server
    app.state.settings = settings
    app.state.access = access
    app.state.feed = Feed(server)
    app.state.runs = configuring
    app.state.audit = auditing
    app.state.counts = counts
    app.state.oidc = None
    if settings.oidc is not None:
        from backstay.server.access.oidc import OidcClient  # authlib: 0.2 s, and not everybody's

        app.state.oidc = OidcClient(settings.oidc, settings.base_url, settings.state_dir)
    problem.install(app)
    for router in routers():
        app.include_router(router)
    document.install(app)
    app.add_middleware(Answers)
    app.add_middleware(Wall, settings=settings)  # it stands before all others but the counting
    app.add_middleware(Counting, counts=counts)
    return app
