"""What is altered: transient changes with actor, reason, expiry, guard and undo.

Change -> guard -> book (on disk) -> in force(now) -> expiry or undo

A load balancer's agent does, in this order (docs/change.md):

    reading = read_clock()
    change = parse_request(body).to_change(reading)                # wire.py: bad input -> ChangeInvalid
    verdict = decide_guard(estate, book.in_force(reading), health, load, change, reading)
    store.save(book := book.put(change))                           # durable, then acknowledged

and in its loop `book, due = book.expire(read_clock())`; `effect_on(book.in_force(reading), pool, node)` says what
all changes together do to one backend. `rollout.py` decides for several load balancers at once. Everything
here but `clock` and `store` is pure.
"""

from backstay.change.book import CHANGES_LIMIT, FACTOR_LIMIT, HISTORY_LIMIT, ChangeBook, effect_on
from backstay.change.clock import read_clock
from backstay.change.durations import DURATION_LIMIT_S, check_duration, format_duration, parse_duration
from backstay.change.expiry import deadline_at, is_due, remaining_s
from backstay.change.guard import Allowed, Refusal, Refused, Verdict, decide_guard, pools_in_scope
from backstay.change.model import (
    BackendLoad,
    BookFull,
    BookNotSaved,
    Change,
    ChangeError,
    ChangeInvalid,
    ChangeKind,
    ChangeUnknown,
    ClockReading,
    Deadline,
    Effect,
    Ended,
    EndedBy,
)
from backstay.change.parameter import check_parameter
from backstay.change.store import ChangeStore, Loaded
from backstay.change.wire import (
    ChangeRequest,
    UndoRequest,
    change_json,
    ended_json,
    parse_request,
    parse_undo,
    request_from_json,
    verdict_json,
)

__all__ = [
    "CHANGES_LIMIT",
    "DURATION_LIMIT_S",
    "FACTOR_LIMIT",
    "HISTORY_LIMIT",
    "Allowed",
    "BackendLoad",
    "BookFull",
    "BookNotSaved",
    "Change",
    "ChangeBook",
    "ChangeError",
    "ChangeInvalid",
    "ChangeKind",
    "ChangeRequest",
    "ChangeStore",
    "ChangeUnknown",
    "ClockReading",
    "Deadline",
    "Effect",
    "Ended",
    "EndedBy",
    "Loaded",
    "Refusal",
    "Refused",
    "UndoRequest",
    "Verdict",
    "change_json",
    "check_duration",
    "check_parameter",
    "deadline_at",
    "decide_guard",
    "effect_on",
    "ended_json",
    "format_duration",
    "is_due",
    "parse_duration",
    "parse_request",
    "parse_undo",
    "pools_in_scope",
    "read_clock",
    "remaining_s",
    "request_from_json",
    "verdict_json",
]
