"""The static files: read once, compressed once, named by their content so that browsers keep them for good."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from backstay.server.access.depends import Anybody
from backstay.server.problem import Problem

router = APIRouter(include_in_schema=False)

FOREVER = "public, max-age=31536000, immutable"
NOT_LONG = "public, max-age=60"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
}


@dataclass(frozen=True, slots=True)
class File:
    plain: bytes
    packed: bytes  # gzip
    kind: str
    digest: str  # the first characters of its SHA-256


@cache
def static_files() -> dict[str, File]:
    """Every file of static/, by its path below it."""
    folder = files("backstay.server") / "console" / "static"
    found: dict[str, File] = {}
    for place, prefix in ((folder, ""), (folder / "vendor", "vendor/")):
        for item in place.iterdir():
            if item.is_file():
                plain = item.read_bytes()
                kind = _TYPES[item.name[item.name.rindex(".") :]]
                packed = gzip.compress(plain, 9, mtime=0)
                found[prefix + item.name] = File(plain, packed, kind, hashlib.sha256(plain).hexdigest()[:12])
    return found


@cache
def static(name: str) -> str:
    """The address of a static file; another one when its content is another. Raises KeyError."""
    return f"/static/{name}?v={static_files()[name].digest}"


@router.get("/static/{name:path}")
def static_file(request: Request, name: str, _: Anybody, v: str = "") -> Response:
    """One static file, as it is known to everybody."""
    file = static_files().get(name)
    if file is None:
        raise Problem(404, None, f"There is no static file {name[:100]}.")
    headers = {
        "Cache-Control": FOREVER if v == file.digest else NOT_LONG,
        "ETag": f'"{file.digest}"',
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return Response(file.packed, media_type=file.kind, headers=headers | {"Content-Encoding": "gzip"})
    return Response(file.plain, media_type=file.kind, headers=headers)
