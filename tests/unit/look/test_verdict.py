"""Whose doing is an error: the target's, or our own?"""

from __future__ import annotations

import errno
import os

import pytest

from backstay.look.model import Outcome
from backstay.look.probes.verdict import of_error


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (errno.ECONNREFUSED, Outcome.REFUSED),
        (errno.ECONNRESET, Outcome.RESET),
        (errno.EPIPE, Outcome.RESET),
        (errno.ETIMEDOUT, Outcome.TIMED_OUT),
        (errno.EHOSTUNREACH, Outcome.UNREACHABLE),
        (errno.ENETUNREACH, Outcome.UNREACHABLE),
        (errno.EPERM, Outcome.NOT_SENT),
        (errno.EMFILE, Outcome.NOT_SENT),
        (errno.EADDRNOTAVAIL, Outcome.NOT_SENT),
        (errno.EINVAL, Outcome.NOT_SENT),
    ],
)
def test_an_error_number_has_an_outcome(number: int, outcome: Outcome) -> None:
    assert of_error(OSError(number, os.strerror(number))).outcome is outcome


def test_a_reset_without_a_number_is_a_reset() -> None:
    assert of_error(ConnectionResetError()).outcome is Outcome.RESET


def test_our_own_faults_say_what_to_do() -> None:
    assert "LimitNOFILE" in of_error(OSError(errno.EMFILE, "Too many open files")).detail


def test_an_error_without_words_has_a_name() -> None:
    assert of_error(OSError()).detail == "OSError"
