"""Facter's facts: the kind `facter` of `backstay.facts`, from a folder with a file a node or by running it over SSH."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from backstay.audit.ports import FactSource, Surroundings
from backstay.audit.sources.folder import FolderFacts, FolderSettings
from backstay.audit.sources.reports import ALL
from backstay.audit.sources.settings import checked
from backstay.audit.sources.ssh.over import NodeLogin, OverSsh, Task
from backstay.audit.sources.ssh.remote import Ended
from backstay.audit.sources.tools import Facts, facter
from backstay.audit.sources.values import one_line

KIND = "facter"
OUTPUT_LIMIT_BYTES = 16_000_000
# Between the messages that Ruby and Facter print before and behind it.
DOCUMENT = re.compile(r"^\{.*\}[ \t]*$", re.MULTILINE | re.DOTALL)

Word = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class FacterSettings(NodeLogin):
    command: Annotated[tuple[Word, ...], Field(min_length=1, max_length=64)] = ("facter", "--json")
    """What is run on each node; it prints Facter's JSON."""


def facts(settings: Mapping[str, Any], around: Surroundings) -> FactSource:
    """For the entry point `facter`: with `path` from a folder, else over SSH. Raises SourceError."""
    if "path" in settings:
        return FolderFacts(KIND, checked(FolderSettings, settings, KIND), around, facter)
    given = checked(FacterSettings, settings, KIND)
    task = Task(command=shlex.join(given.command), feed=b"", read=told)
    return OverSsh(KIND, given, around, lambda: task, limit_bytes=OUTPUT_LIMIT_BYTES)


def told(ended: Ended) -> Facts:
    """What facter printed. Half a document is none: raises ValueError for what was cut, and for what is none."""
    said = ended.out.decode("utf-8", "backslashreplace")
    document = None if ended.cut else DOCUMENT.search(said)
    if document is None:
        what = ended.cut or f"exit status {ended.exit_code}: {one_line(said) or 'nothing was printed'}"
        raise ValueError(f"facter: {what}. Try it by hand there.")
    try:
        values, unread = facter(json.loads(document[0], parse_float=str, parse_int=str))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"facter printed what cannot be used: {str(error)[:200]}. Try it by hand there.") from None
    if ended.exit_code != 0:  # some could not be found out, and it does not say which
        what = one_line(said[: document.start()] + said[document.end() :])
        unread[ALL] = f"facter ended with exit status {ended.exit_code}: {what}"
    return values, unread
