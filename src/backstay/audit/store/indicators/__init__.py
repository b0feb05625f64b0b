"""Indicators in the store: keeping.py adds samples, cells.py (pure) makes means of them, ageing.py down-samples."""

from backstay.audit.store.indicators.store import Indicators

__all__ = ["Indicators"]
