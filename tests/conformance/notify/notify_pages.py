"""The page that the suite sends."""

from __future__ import annotations

from datetime import UTC, datetime

from backstay.notify import Page

PAGE = Page(
    key="01KTAKEOVER",
    at=datetime.now(UTC),
    summary="www moved from lb1 to lb2: lb1 is dead",
    source="lb2",
    subject="ip/www",
    seen=("lb1: 14 probes in 1.4 s, no answer",),
    done=("the provider routes 203.0.113.10 to lb2",),
    not_done=("lb1 does not get the address back by itself",),
    commands={"look": "backstay ip explain www", "rearm": "backstay ip rearm www lb1 --reason WHY"},
)
