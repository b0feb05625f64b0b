"""The console's routes: every page family's, and the static files."""

from __future__ import annotations

from fastapi import APIRouter

from backstay.server.console import files
from backstay.server.console.rooms import audit, balance, changes, estate, failover, journal, overview, runs

router = APIRouter()
for room in (files, overview, balance, failover, changes, runs, journal, audit, estate):
    router.include_router(room.router)
