"""Fixes that prove a cause: what will be changed and what is expected of it, told beforehand and verified afterwards.

register -> Fix (kept) -> facts change -> effect.py (before and after, beside unchanged peers) -> judge.py -> Verdict
                                                                                                  '-> proof.py: evidence

model.py    Fix, Verdict, Outcome, Reason
record.py   as JSON objects of the store of records
effect.py   difference-in-differences with placebos: how much came with the change
judge.py    what that is worth beside what was expected, and how long to wait where it is too early
proof.py    a verdict as evidence for `explain`; the finding as it was before the fix, with the proof
story.py    for people: in the terminal, as Markdown and as a page
shell.py    Fixes: register, verify, list over a store of records, with a journal
"""

from backstay.audit.fix.model import Fix, FixRefused, Outcome, Reason, Verdict

__all__ = ["Fix", "FixRefused", "Outcome", "Reason", "Verdict"]
