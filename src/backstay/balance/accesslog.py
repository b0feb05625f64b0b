"""The access log: one JSON object a line, the same shape from every engine; pure.

One line is one request (or TCP session) as the client saw it; each try at a backend becomes one `Sample`.

    {"v": 1, "engine": "nginx", "time": 1732312345.123, "id": "7f3c...", "connection": 4711,
     "service": "app", "route": "/", "pool": "web",
     "client": "198.51.100.7", "method": "GET", "host": "app.example.com", "uri": "/cart", "protocol": "HTTP/2.0",
     "tls": "TLSv1.3", "status": 200, "bytes": 5120, "total": "0.120",
     "peers": "10.1.1.11:8000, 10.1.1.12:8000", "statuses": "502, 200",
     "connects": "-, 0.001", "headers": "-, 0.101", "times": "0.001, 0.119", "end": "OK"}

| key | what |
|---|---|
| `time` | when the request ended, seconds since the epoch |
| `connection` | the engine's number of the client connection, to join with its error log (HAProxy: 0) |
| `service`, `route`, `pool` | names of the estate; `route` and `pool` are "" when no backend was asked |
| `status` | what the client got (TCP: 200 when a backend was reached, else 5xx) |
| `total` | from the first byte of the request to the last of the answer |
| `peers`, `statuses`, `connects`, `headers`, `times` | lists, an item a try, joined by ", "; "-", "-1" or "" is none |
| `end` | how it ended, in the engine's own words |

What differs by `engine`, because the engines' clocks do:
- nginx: seconds; `headers` and `times` run from the start of the connect; peers are "address:port";
  `end` is `$request_completion`.
- haproxy: milliseconds; `headers` (%Tr) runs from the request sent; one try, peers is the server's name;
  `end` is the termination state (%tsc).

A try that gave no header is status 0, whatever the engine answered in its place. A client that left before the header
is status 499 (nginx's number), which is no error of the backend.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backstay.balance.model import Sample

CLIENT_LEFT = 499
LINE_LIMIT_CHARS = 524_288  # a URI of 64 kB, each byte escaped to six; a longer line is garbage
TRIES_LIMIT = 16
Cut = tuple[int, str]  # (connection, peer): the engine's error log saw this backend break off its answer
Names = Mapping[tuple[str, str], str]  # (pool, peer as the engine writes it) -> backend

_SEPARATOR = re.compile(r", | : ")  # nginx: " : " between groups of servers
_TIME_LIMIT_S = 32_503_680_000.0  # the year 3000; beyond is garbage


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    samples: list[Sample]
    garbage: int  # lines that are not of this shape
    cuts_left: list[Cut]  # whose request is not logged yet


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    peer: str
    status: int
    connect_s: float | None
    header_s: float | None
    total_s: float


def read(lines: Iterable[str], names: Names, cuts: Iterable[Cut] = ()) -> Parsed:
    """Samples of `lines`. A line of another shape is counted, never raised.

    Each of `cuts` marks one request: the next that ends on that connection with that peer as its last.
    """
    samples: list[Sample] = []
    cuts_left = list(cuts)
    garbage = 0
    for line in lines:
        try:
            samples.extend(_samples(line, names, cuts_left))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            garbage += 1
    return Parsed(samples=samples, garbage=garbage, cuts_left=cuts_left)


def _samples(line: str, names: Names, cuts: list[Cut]) -> list[Sample]:
    """The samples of one line; a cut that it explains is taken out of `cuts`."""
    if len(line) > LINE_LIMIT_CHARS:
        raise ValueError("longer than any line of ours")
    entry = json.loads(line)
    if not isinstance(entry, dict) or entry["v"] != 1:
        raise ValueError("not a line of version 1")
    ended = _number(entry["time"], limit=_TIME_LIMIT_S)
    pool = _text(entry["pool"])
    if not pool:
        return []  # answered by the load balancer itself: a redirect, an unknown host
    tries = _nginx_tries(entry) if entry["engine"] == "nginx" else _haproxy_tries(entry)
    cut = bool(tries) and _is_cut(entry, tries[-1].peer, cuts)
    return [
        Sample(
            time=datetime.fromtimestamp(ended, UTC),
            request_id=_text(entry["id"]),
            service=_text(entry["service"]),
            route=_text(entry["route"]),
            pool=pool,
            backend=names.get((pool, one.peer), one.peer),
            status=one.status,
            connect_time_s=one.connect_s,
            header_time_s=one.header_s,
            total_time_s=one.total_s,
            final=number == len(tries),
            cut=cut and number == len(tries) and one.header_s is not None,
        )
        for number, one in enumerate(tries, start=1)
    ]


def _nginx_tries(entry: Mapping[str, Any]) -> list[_Try]:
    # nginx writes the upstream's name where it found no live peer: that was no try.
    peers = [peer for peer in _items(entry["peers"]) if ":" in peer]
    count = len(peers)
    statuses = _padded(entry["statuses"], count)
    connects = [_seconds(item, unit_s=1.0) for item in _padded(entry["connects"], count)]
    headers = [_seconds(item, unit_s=1.0) for item in _padded(entry["headers"], count)]
    times = [_seconds(item, unit_s=1.0) for item in _padded(entry["times"], count)]
    client_status = int(_number(entry["status"]))
    tcp = not any(_items(entry["statuses"]))
    tries = []
    for i, peer in enumerate(peers):
        last = i == count - 1
        if tcp:
            status = 200 if connects[i] is not None else 0
        elif headers[i] is not None:
            status = int(_number(statuses[i]))
        else:
            status = CLIENT_LEFT if last and client_status == CLIENT_LEFT else 0
        header, connect = headers[i], connects[i]
        tries.append(
            _Try(
                peer=peer,
                status=status,
                connect_s=connect,
                header_s=None if header is None else max(0.0, header - (connect or 0.0)),
                total_s=times[i] or 0.0,
            )
        )
    return tries


def _haproxy_tries(entry: Mapping[str, Any]) -> list[_Try]:
    peer = _text(entry["peers"])
    if not peer or peer.startswith("<"):  # <NOSRV>
        return []
    connect = _seconds(_text(entry["connects"]), unit_s=0.001)
    header = _seconds(_text(entry["headers"]), unit_s=0.001)
    total = _seconds(_text(entry["times"]), unit_s=0.001)
    client_left = _text(entry["end"]).startswith(("C", "c"))
    statuses = _text(entry["statuses"])
    if not statuses:  # TCP
        status = 200 if connect is not None else CLIENT_LEFT if client_left else 0
    elif header is not None:
        status = int(_number(statuses))
    else:
        status = CLIENT_LEFT if client_left else 0
    return [_Try(peer=peer, status=status, connect_s=connect, header_s=header, total_s=total or 0.0)]


def _is_cut(entry: Mapping[str, Any], peer: str, cuts: list[Cut]) -> bool:
    """True when the answer was begun and the backend or the engine did not finish it.

    nginx: its access log does not tell, so its error log is asked; else every client that closes a stream would look
    like a broken backend. HAProxy: the session ended in the data phase, and not by the client (its manual, 8.5).
    """
    end = _text(entry["end"])
    if entry["engine"] != "nginx":
        return len(end) >= 2 and end[0] in "SsPRIDK" and end[1] == "D"
    if (entry["connection"], peer) not in cuts:
        return False
    cuts.remove((entry["connection"], peer))
    return True


def _items(text: Any) -> list[str]:
    items = [item.strip() for item in _SEPARATOR.split(_text(text))]
    if len(items) > TRIES_LIMIT:
        raise ValueError("more tries than any engine of ours makes")
    return items


def _padded(text: Any, count: int) -> list[str]:
    """Exactly `count` items: nginx leaves out trailing ones when a request is broken off."""
    items = _items(text)[:count]
    return items + ["-"] * (count - len(items))


def _seconds(item: str, *, unit_s: float) -> float | None:
    if item in {"", "-"} or item.startswith("-"):
        return None
    return _number(item) * unit_s


def _number(value: Any, *, limit: float = 1e9) -> float:
    number = float(value)
    if not math.isfinite(number) or not 0 <= number <= limit:
        raise ValueError(f"out of range: {value!r}")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a string: {value!r}")
    return value
