"""What an nginx binary can do, read from its own words (`nginx -V`); pure."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What this binary has, and how it is run on this machine."""

    version: tuple[int, int, int]
    stream: bool = True
    stream_module: str | None = None  # file of the dynamic module; None: built in
    tls: bool = True
    http2: bool = True
    fastcgi: bool = True
    uwsgi: bool = True
    scgi: bool = True
    user: str | None = None  # workers drop to it; None: not started as root
    ipv6: bool = True
    open_files: int = 65_536

    @property
    def least_time(self) -> bool:
        return self.version >= (1, 31, 0)

    @property
    def keepalive_min_timeout(self) -> bool:
        return self.version >= (1, 27, 4)

    @property
    def http2_directive(self) -> bool:
        return self.version >= (1, 25, 1)


def read_build(
    version: tuple[int, int, int],
    words: str,
    *,
    modules: frozenset[str],
    user: str | None,
    ipv6: bool,
    open_files: int,
) -> Build:
    """The build that `nginx -V` tells of in `words`.

    `modules`: files in the binary's folder of dynamic modules (`modules_path`).
    """
    stream_file = f"{modules_path(words)}/ngx_stream_module.so"
    dynamic = "--with-stream=dynamic" in words
    return Build(
        version=version,
        stream=stream_file in modules if dynamic else _has(words, "--with-stream"),
        stream_module=stream_file if dynamic and stream_file in modules else None,
        http2=_has(words, "--with-http_v2_module"),
        tls=_has(words, "--with-http_ssl_module"),
        fastcgi=not _has(words, "--without-http_fastcgi_module"),
        uwsgi=not _has(words, "--without-http_uwsgi_module"),
        scgi=not _has(words, "--without-http_scgi_module"),
        user=user,
        ipv6=ipv6,
        open_files=open_files,
    )


def modules_path(words: str) -> str:
    """The folder of dynamic modules that the binary was built for; "" when it names none."""
    match = re.search(r"--modules-path=(\S+)", words)
    return match.group(1) if match else ""


def missing(build: Build) -> tuple[str, ...]:
    """What the binary lacks, in words, and what that means."""
    version = ".".join(str(part) for part in build.version)
    lacks = (
        (build.tls, "TLS (ngx_http_ssl_module): services with tls are refused"),
        (build.http2, "HTTP/2 (ngx_http_v2_module): clients get HTTP/1.1"),
        (build.stream, "TCP pools (ngx_stream_module): install libnginx-mod-stream"),
        (build.fastcgi, "FastCGI (ngx_http_fastcgi_module)"),
        (build.uwsgi, "uWSGI (ngx_http_uwsgi_module)"),
        (build.least_time, f"least_time (1.31.0 has it, this is {version}): least_conn is used"),
        (
            build.keepalive_min_timeout,
            f"keepalive_min_timeout (1.27.4 has it, this is {version}): a reload resets some idle clients",
        ),
    )
    return tuple(text for present, text in lacks if not present)


def _has(words: str, flag: str) -> bool:
    return flag in words.split()
