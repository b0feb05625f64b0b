"""The section `audit` of the estate file: where facts and indicators come from, and how often. Pure.

A source's settings beyond its kind are checked by that kind itself, which may be another package's: here they are taken
as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Kind = Annotated[str, StringConstraints(min_length=1, max_length=63)]
IndicatorName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", use_attribute_docstrings=True)


class Source(Section):
    model_config = ConfigDict(extra="allow")

    kind: Kind
    """Which source: a name that `backstay.facts` or `backstay.indicators` has among its entry points."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The keys beside `kind`, as JSON values."""
        return dict(self.model_extra or {})


# What an indicator measures. It decides which facts are plausible causes.
class Resource(StrEnum):
    CPU = "cpu"  # speed or use of processors
    MEMORY = "memory"  # bandwidth, use, paging
    STORAGE = "storage"
    NETWORK = "network"  # rates, drops, retransmits
    SERVICE = "service"  # requests, latency, errors: anything may be behind it


class IndicatorNature(Section):
    """What an indicator is, where its name says it wrongly."""

    resource: Resource | None = None
    """The part that it measures; it decides which facts are plausible causes."""
    per_work: bool | None = None
    """It grows with the work done, so it is divided by the cluster's unit of work."""
    higher_is_worse: bool | None = None
    """Which way is worse."""
    closed_loop: bool | None = None
    """A load balancer evens it out: equal values prove nothing."""


class Weekday(StrEnum):
    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class Review(Section):
    weekday: Weekday = Weekday.MONDAY
    """When the server reviews the week (UTC)."""
    hour: Annotated[int, Field(ge=0, le=23)] = 6
    """At which hour (UTC)."""


class Audit(Section):
    every_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """How often the server reads indicators; also the width of what is kept."""
    facts_every_s: Annotated[float, Field(ge=1, le=2_592_000)] = 3600.0
    """How often the server reads facts."""
    facts: Annotated[tuple[Source, ...], Field(max_length=20)] = ()
    """Sources of facts; a later one fills in what the earlier ones could not read."""
    indicators: Annotated[tuple[Source, ...], Field(max_length=20)] = (Source(kind="tier"),)
    """Sources of indicators."""
    limits: dict[IndicatorName, Annotated[float, Field(allow_inf_nan=False)]] = {}
    """Indicator to the value where it hurts: the weekly review projects to it."""
    natures: dict[IndicatorName, IndicatorNature] = {}
    """Indicator to what it is, where the audit reads its name wrongly."""
    review: Review = Review()
    """When the week is reviewed."""
