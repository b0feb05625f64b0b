"""/api/v1/audit: shapes.py (what goes in and out), routes.py."""

from __future__ import annotations

from backstay.server.api.audit.routes import TheAudit, find_fix, raise_refused, router

__all__ = ["TheAudit", "find_fix", "raise_refused", "router"]
