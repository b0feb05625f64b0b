"""An HTTP/1.1 answer, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.look.answer import Answer, BadAnswer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=1\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n"
# name: (bytes, status, body, keep-alive)
COMPLETE = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "chunked": (CHUNKED, 200, b"abcdef", True),
    "trailers": (CHUNKED[:-2] + b"X-Sum: 1\r\n\r\n", 200, b"abcdef", True),
    "close": (b"HTTP/1.1 502 Bad\r\nconnection: CLOSE\r\nContent-Length: 1\r\n\r\nx", 502, b"x", False),
    "bare line feeds": (b"HTTP/1.0 200 OK\nContent-Length: 5\n\nready", 200, b"ready", False),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", False),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", True),
    "upgrade": (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", 101, b"", True),
}
BAD = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "huge": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    "chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    "endless chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 2000,
}


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 10_000])
def test_an_answer_is_complete_with_its_last_byte_however_it_is_cut(name: str, step: int) -> None:
    data, status, body, keep_alive = COMPLETE[name]
    answer = Answer()
    parts = [data[i : i + step] for i in range(0, len(data), step)]
    assert [answer.feed(part) for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (answer.status, answer.body, answer.keep_alive) == (status, body, keep_alive)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_answer_is_refused(name: str) -> None:
    with pytest.raises(BadAnswer):
        Answer().feed(BAD[name])


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    answer = Answer()
    assert answer.feed(b"HTTP/1.1 200 OK\r\n\r\nhalf") is False
    assert answer.closed()
    assert answer.body == b"half"
    assert not answer.keep_alive


def test_an_answer_that_was_cut_within_its_body_does_not_count_as_ended() -> None:
    answer = Answer()
    answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    assert answer.begun
    assert not answer.closed()


def test_what_follows_the_end_is_kept_apart() -> None:
    answer = Answer()
    assert answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz")
    assert (answer.body, answer.surplus) == (b"x", b"yz")


def test_of_a_long_body_the_beginning_is_kept() -> None:
    answer = Answer()
    assert answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"z" * 200_000)
    assert len(answer.body) == 65_536


def test_an_endless_body_is_refused() -> None:
    answer = Answer()
    answer.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    with pytest.raises(BadAnswer, match="a body of more"):
        for _ in range(20):
            answer.feed(b"z" * 2**20)


def test_headers_are_found_whatever_their_case() -> None:
    answer = Answer()
    answer.feed(b"HTTP/1.1 200 OK\r\nX-WITNESS-ID:  AbC \r\nContent-Length: 0\r\n\r\n")
    assert answer.header(b"x-witness-id") == b"abc"
    assert answer.header(b"x-other") is None


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_any_bytes_give_an_answer_or_are_refused(parts: list[bytes]) -> None:
    answer = Answer()
    try:
        for part in [b"HTTP/1.1 200 OK\r\n", *parts]:
            if answer.feed(part):
                break
    except BadAnswer:
        pass
