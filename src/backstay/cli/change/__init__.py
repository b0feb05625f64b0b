"""The commands of change/: drain, undrain, weight, maintenance, changes.

commands.py (what is typed) -> rollout.py (put on every load balancer) | inforce.py (list, show, undo, finish) -> Report
"""

from backstay.cli.change.commands import changes, drain, maintenance, undrain, weight

__all__ = ["changes", "drain", "maintenance", "undrain", "weight"]
