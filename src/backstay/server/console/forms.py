"""What people submit, read and checked: strict shapes, limits, and faults by the field that they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from backstay.change import ChangeInvalid, ChangeKind, parse_duration
from backstay.change.wire import Line
from backstay.link.wire import ESTATE_LIMIT_CHARS
from backstay.server.weigh import Asked

FIELDS_LIMIT = 50


class Faults(Exception):
    """What was submitted does not do: field -> why. A field "" is of the whole."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(faults.values()))
        self.faults = dict(faults)


class Filled(BaseModel):
    """A form as it was sent. `ask`: names this one asking, so that a form sent twice asks once."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ask: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{8,64}$")]
    reason: Line


def _duration(text: str) -> str:
    if text:
        try:
            parse_duration(text)
        except ChangeInvalid as error:
            raise ValueError(str(error)) from None
    return text


Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
Lasts = Annotated[Short, AfterValidator(_duration)]


class ChangeForm(Filled):
    """A new change; every field but `typed` is also in the address of its plan."""

    selector: Annotated[Short, StringConstraints(min_length=1)]
    kind: ChangeKind
    pool: Short = ""
    factor: Short = ""
    parameter: Short = ""
    value: Annotated[str, StringConstraints(max_length=4_000)] = ""
    lasts: Lasts = ""  # "": until undone
    forced: bool = False
    typed: Short = ""

    def asked(self) -> Asked:
        """What the server is asked. Raises Faults."""
        return Asked(
            id=self.ask,
            selector=self.selector,
            kind=self.kind,
            reason=self.reason,
            pool=self.pool or None,
            factor=_factor(self.factor) if self.kind is ChangeKind.WEIGHT else None,
            parameter=self.parameter or None if self.kind is ChangeKind.PARAMETER else None,
            value=_value(self.value) if self.kind is ChangeKind.PARAMETER else None,
            duration_s=float(parse_duration(self.lasts)) if self.lasts else None,
            forced=self.forced,
        )


def _factor(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Faults({"factor": "Write a number above 0 and at most 4: 0.5 is half of its share."}) from None


def _value(text: str) -> Any:
    """JSON where it is JSON (numbers, true, lists), else the text itself: people write `web`, and mean "web"."""
    try:
        return json.loads(text)
    except ValueError:
        return text


class UndoForm(Filled):
    """Ends a change, or all of what was asked for in one go."""


class RunForm(Filled):
    selector: Annotated[Short, StringConstraints(min_length=1)]


class MoveForm(Filled):
    to: Short
    typed: Short = ""


class RearmForm(Filled):
    lb: Short
    false_alarm: bool = False


class FreezeForm(Filled):
    lasts: Lasts = ""
    end: bool = False


class PlanForm(BaseModel):
    """An estate to look at. Nothing is altered, so that it needs no reason."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    estate: Annotated[str, StringConstraints(min_length=1, max_length=ESTATE_LIMIT_CHARS)]


class AdoptForm(Filled):
    estate: Annotated[str, StringConstraints(min_length=1, max_length=ESTATE_LIMIT_CHARS)]
    against: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""  # sha256 of the estate that the plan was made for
    typed: Short = ""


Given = TypeVar("Given", bound=BaseModel)


def parse(form: type[Given], given: Mapping[str, Any]) -> Given:
    """The form out of what was sent. Raises Faults."""
    if len(given) > FIELDS_LIMIT:
        raise Faults({"": "More fields than this form has."})
    # Checkboxes that are not ticked are not sent; those that are, as "on" or "1", which pydantic takes.
    try:
        return form.model_validate(dict(given))
    except ValidationError as error:
        raise Faults(
            {
                str(one["loc"][0]) if one["loc"] else "": _sentence(
                    str(one["loc"][-1] if one["loc"] else ""), one["msg"]
                )
                for one in error.errors(include_url=False, include_input=False, include_context=False)
            }
        ) from None


def _sentence(field: str, message: str) -> str:
    plain = message.removeprefix("Value error, ")
    if field == "reason":
        return "Say why, in one line."
    return plain if plain.endswith(".") else f"{plain}."


async def filled(request: Request, form: type[Given]) -> Given:
    """The form of this request. Raises Faults."""
    sent = await request.form(max_files=0, max_fields=FIELDS_LIMIT, max_part_size=ESTATE_LIMIT_CHARS * 4)
    return parse(form, {key: value for key, value in sent.items() if isinstance(value, str)})


def confirm(typed: str, name: str) -> None:
    """Dangerous things want the name typed. Raises Faults."""
    if typed.strip() != name:
        raise Faults({"typed": f"Type {name} to confirm. Nothing was done."})
