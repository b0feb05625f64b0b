"""Facts in the store: store.py answers and adds, folding.py folds reports in, rows.py asks the tables."""

from backstay.audit.store.facts.store import Facts

__all__ = ["Facts"]
