"""Nouns of the audit. Pure.

facts.py       what is known of nodes
series.py      what was measured
estimates.py   where nodes stand beside each other, and how a cluster splits
findings.py    what is claimed of it
"""

from __future__ import annotations

from backstay.audit.model.arrays import Floats, Ints
from backstay.audit.model.estimates import Comparison, Effect, Level, Partition, Pooling, Spread, Standing
from backstay.audit.model.facts import ABSENT, UNREAD, FactChange, FactColumn, FactInterval, FactReport, FactTable
from backstay.audit.model.findings import (
    Evidence,
    EvidenceKind,
    Experiment,
    ExperimentKind,
    FactStanding,
    Finding,
    Grade,
    Habit,
    Hypothesis,
    HypothesisKind,
    Knowledge,
    Mechanism,
)
from backstay.audit.model.series import Cluster, Grid, Indicator, Series, SeriesKind
from backstay.estate.audit import Resource

__all__ = [
    "ABSENT",
    "UNREAD",
    "Cluster",
    "Comparison",
    "Effect",
    "Evidence",
    "EvidenceKind",
    "Experiment",
    "ExperimentKind",
    "FactChange",
    "FactColumn",
    "FactInterval",
    "FactReport",
    "FactStanding",
    "FactTable",
    "Finding",
    "Floats",
    "Grade",
    "Grid",
    "Habit",
    "Hypothesis",
    "HypothesisKind",
    "Indicator",
    "Ints",
    "Knowledge",
    "Level",
    "Mechanism",
    "Partition",
    "Pooling",
    "Resource",
    "Series",
    "SeriesKind",
    "Spread",
    "Standing",
]
