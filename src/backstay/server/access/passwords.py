"""Passwords: argon2id with the parameters of RFC 9106 for machines with little memory (64 MiB, 3 passes).

At most TWO_AT_ONCE are hashed at a time: a flood of logins waits instead of taking the machine's memory.
"""

from __future__ import annotations

import anyio
from argon2 import Parameters, PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

TWO_AT_ONCE = 2


class Passwords:
    """Hashes and verifies in threads."""

    def __init__(self, parameters: Parameters = RFC_9106_LOW_MEMORY) -> None:
        self._turns: anyio.CapacityLimiter | None = None  # made in the loop that uses it
        self._hasher = PasswordHasher.from_parameters(parameters)
        self._nobodys: str | None = None  # a hash for names that nobody has

    async def hash(self, password: str) -> str:
        return await anyio.to_thread.run_sync(self._hasher.hash, password, limiter=self._limiter())

    async def verify(self, kept: str | None, password: str) -> bool:
        """Is it that one? Without a hash (no such user) it takes as long, and is false."""
        return await anyio.to_thread.run_sync(self._verify, kept, password, limiter=self._limiter())

    def outdated(self, kept: str) -> bool:
        """Was it made with other parameters?"""
        return self._hasher.check_needs_rehash(kept)

    def hash_now(self, password: str) -> str:
        """For the command line, which has no loop."""
        return self._hasher.hash(password)

    def _verify(self, kept: str | None, password: str) -> bool:
        if self._nobodys is None:
            self._nobodys = self._hasher.hash("nobody's, and too well known to be anybody's")
        try:
            return self._hasher.verify(kept or self._nobodys, password) and kept is not None
        except (VerificationError, InvalidHashError):
            return False

    def _limiter(self) -> anyio.CapacityLimiter:
        if self._turns is None:
            self._turns = anyio.CapacityLimiter(TWO_AT_ONCE)
        return self._turns
