"""pydantic's errors -> findings in our words: what, where, what next. Pure. Never shows what may be a secret."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from ipaddress import AddressValueError
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from backstay.estate.check import Finding, listed, quoted, suggestion
from backstay.estate.model import CommandSecret, Downtime, EnvSecret, FileSecret, Glob, Hostname, Name, Path
from backstay.estate.schema import shape_at
from backstay.estate.tree import Key, KeyPath, shown

ERRORS_LIMIT = 2_000


def explain(invalid: ValidationError, data: dict[str, Any]) -> list[Finding]:
    """Findings for the errors of `data`; alternatives of one union that fail at one place are told once."""
    findings: dict[KeyPath, Finding] = {}
    for error in invalid.errors(include_url=False)[:ERRORS_LIMIT]:
        finding = _explain(error, data)
        findings.setdefault(finding.path, finding)
    return list(findings.values())


def _explain(error: ErrorDetails, data: dict[str, Any]) -> Finding:
    path, value = follow(error["loc"], data)
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(path, data)
    if kind == "missing":
        return _missing(path, data)
    if error["loc"] and error["loc"][-1] == "[key]":
        return Finding(path=path, message=_words(kind, error, str(path[-1])), at_key=True)
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _kind_of(path, value)
    if kind == "secret" or (kind in _NEEDED and _is_secret(path)):
        return Finding(path=path, message=_secret(path, value))
    return Finding(path=path, message=_words(kind, error, value))


def follow(loc: tuple[int | str, ...], data: Any) -> tuple[KeyPath, Any]:
    """The keys of the file in pydantic's location, and the value there.

    Between the keys pydantic puts the names of union alternatives; they are what the file does not have.
    """
    path: list[Key] = []
    value: Any = data
    for step in loc:
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_list or (isinstance(value, dict) and step in value):
            value = value[step]
            path.append(step)
    return tuple(path), value


def _unknown_key(path: KeyPath, data: Any) -> Finding:
    known = tuple(_model_at(path[:-1], data).model_fields)
    key = str(path[-1])
    message = f"{quoted(key)} is no key here.{suggestion(key, known)} Keys: {', '.join(known)}."
    return Finding(path=path, message=message, at_key=True)


def _missing(path: KeyPath, data: Any) -> Finding:
    """`path` leads to the mapping that lacks the key; which ones is told together."""
    fields = _model_at(path, data).model_fields
    given = reduce(lambda value, step: value[step], path, data)
    absent = [key for key, field in fields.items() if field.is_required() and key not in given]
    words = "is missing. Add it." if len(absent) == 1 else "are missing. Add them."
    return Finding(path=path, message=f"{', '.join(absent)} {words}")


def _model_at(path: KeyPath, data: Any) -> type[BaseModel]:
    """The model of the mapping at `path`; of alternatives the one that the mapping's `kind`, or a key of it, names."""
    shape = shape_at(path)
    assert shape is not None
    value = reduce(lambda value, step: value[step], path, data)
    return next((model for model in shape.models if _is_kind(model, value)), shape.models[0])


def _is_kind(model: Any, value: Any) -> bool:
    """Whether `model` is the alternative that the value's `kind` (or its one key) names."""
    kind = model.model_fields.get("kind")
    if kind is not None:
        return value.get("kind") in get_args(kind.annotation)
    return any(key in value for key in model.model_fields)


def _kind_of(path: KeyPath, value: Any) -> Finding:
    shape = shape_at(path)
    assert shape is not None
    kinds = [kind for model in shape.models for kind in get_args(model.model_fields["kind"].annotation)]
    if not isinstance(value, dict) or "kind" not in value:
        return Finding(path=path, message=f"kind is missing. Kinds: {', '.join(kinds)}. Add it.")
    given = str(value["kind"])
    message = f"{quoted(given)} is no kind here.{suggestion(given, kinds)} Kinds: {', '.join(kinds)}."
    return Finding(path=(*path, "kind"), message=message)


def _pattern(annotated: Any) -> str:
    return next(str(part.pattern) for part in annotated.__metadata__ if getattr(part, "pattern", None))


_PATTERNS = {
    _pattern(Name): "is no name. Lower-case letters, digits and hyphens, 1 to 63, as in a DNS label",
    _pattern(Hostname): 'is no hostname. Lower-case DNS labels with dots; "*." may stand in front',
    _pattern(Path): "is no path. It starts with / and has no blanks, quotes, or any of { } ; \\ $ #",
    _pattern(Glob): 'is no glob over node names. Write a list of names, or one like "web*"',
    _pattern(Downtime): 'is no downtime. Write none, or a number and its unit: "30s", "15m", "2h", "1d"',
}
_NEEDED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _words(kind: str, error: ErrorDetails, value: Any) -> str:
    ctx = error.get("ctx", {})
    if kind in _NEEDED:
        return _wrong_type(_NEEDED[kind], value)
    if kind in _BOUNDS:
        return _BOUNDS[kind](value, ctx)
    if kind == "string_pattern_mismatch":
        words = _PATTERNS.get(str(ctx.get("pattern")), f"does not match {ctx.get('pattern')}")
        return f"{quoted(str(value))} {words}."
    if kind in ("enum", "literal_error"):
        known = [one.strip(" '") for one in str(ctx.get("expected", "")).replace(" or ", ", ").split(",")]
        known = [one for one in known if one]
        return f"{quoted(str(value))} is none of {listed(known)}.{suggestion(str(value), known)}"
    if isinstance(ctx.get("error"), AddressValueError):
        return f"{quoted(str(value))} is no IP address. Write one like 10.1.1.11 or 2001:db8::1."
    return f"{error['msg']}."


_BOUNDS: dict[str, Callable[[Any, dict[str, Any]], str]] = {
    "greater_than_equal": lambda value, ctx: f"{value} is too small. At least {ctx['ge']:g}.",
    "greater_than": lambda value, ctx: f"{value} is too small. More than {ctx['gt']:g}.",
    "less_than_equal": lambda value, ctx: f"{value} is too large. At most {ctx['le']:g}.",
    "finite_number": lambda value, _: f"{value} is not finite. Write a number.",
    "too_short": lambda _, ctx: f"It is empty. At least {ctx['min_length']} entry is needed. Add it.",
    "string_too_short": lambda _, ctx: f"It is empty. At least {ctx['min_length']} character is needed.",
    "string_too_long": lambda value, ctx: f"{quoted(str(value))} is too long. At most {ctx['max_length']} characters.",
}


_REFERENCES: dict[type[BaseModel], str] = {
    EnvSecret: "{env: NAME}",
    FileSecret: "{file: PATH}",
    CommandSecret: "{command: [PROGRAM, ARGUMENT]}",
}


def _is_secret(path: KeyPath) -> bool:
    shape = shape_at(path)
    return shape is not None and bool(shape.models) and set(shape.models) <= _REFERENCES.keys()


def _secret(path: KeyPath, value: Any) -> str:
    """Never shows what was found: it may be the secret itself."""
    shape = shape_at(path)
    assert shape is not None
    references = [words for model, words in _REFERENCES.items() if model in shape.models]
    how = f"Write a reference: {', '.join(references)}."
    if isinstance(value, dict):
        return f"This is no secret reference: exactly one of the keys env, file, command is needed. {how}"
    if value is None:
        return f"It is empty, and a secret is needed. {how}"
    return f"A literal secret must not stand in the file. {how}"


def _wrong_type(needed: str, value: Any) -> str:
    """Containers are not shown: they may be long, or hold what is secret."""
    if value is None:
        return f"It is empty, and {needed} is needed. Give it a value, or remove the key."
    if isinstance(value, bool):
        return f"{str(value).lower()} is true-or-false, and {needed} is needed." + _quotes(needed)
    if isinstance(value, (int, float)):
        return f"{shown(str(value))} is a number, and {needed} is needed." + _quotes(needed)
    if isinstance(value, str):
        hint = {"a list": " Write [ ] around it.", "true or false": " Write true or false."}.get(needed, "")
        unquote = " Write it without quotes." if needed in ("a number", "a whole number") and _number(value) else ""
        return f"{quoted(value)} is text, and {needed} is needed.{hint}{unquote}"
    return f"This is {'a list' if isinstance(value, list) else 'a mapping'}, and {needed} is needed."


def _quotes(needed: str) -> str:
    return " Put it in quotes." if needed == "text" else ""


def _number(text: str) -> bool:
    return text.strip("+-").replace(".", "", 1).isdigit()
