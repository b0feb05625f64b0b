"""What an estate file may hold: its JSON Schema, and which keys stand at a path. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter

from backstay.estate.model import Estate
from backstay.estate.tree import Key, KeyPath

SCHEMA_ID = "urn:backstay:estate:1"
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the estate file, for editors and for other programs."""
    schema = Estate.model_json_schema()
    schema.pop("title", None)
    return {
        "$schema": SCHEMA_DIALECT,
        "$id": SCHEMA_ID,
        "title": "Backstay estate file",
        **schema,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What may stand at a place: keys of models, named entries, list entries; all empty for a scalar.

    Where a model takes keys that it does not know (settings of a source), anything may stand below: entries and
    elements are Any.
    """

    models: tuple[type[BaseModel], ...] = ()
    entries: Any = None  # annotation of a mapping's values (its keys are names)
    elements: Any = None  # annotation of a list's elements

    def keys(self) -> tuple[str, ...]:
        """Keys that the models here have, in their order."""
        return tuple(dict.fromkeys(key for model in self.models for key in model.model_fields))


@cache
def shape_of(annotation: Any) -> Shape:
    """The shape behind a type annotation; alternatives of a union are merged."""
    models: list[type[BaseModel]] = []
    entries: Any = None
    elements: Any = None
    for kind in _alternatives(annotation):
        origin = get_origin(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            models.append(kind)
        elif origin is dict:
            entries = get_args(kind)[1]
        elif origin is tuple:
            elements = get_args(kind)[0]
        elif kind is Any:
            entries = elements = Any
    return Shape(models=tuple(models), entries=entries, elements=elements)


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for one in get_args(annotation):
            yield from _alternatives(one)
    else:
        yield annotation


def _annotation(model: type[BaseModel], key: str) -> Any:
    """A field's type with its constraints."""
    field = model.model_fields[key]
    kind: Any = field.annotation
    return Annotated[kind, *field.metadata] if field.metadata else kind


ROOT = Shape(models=(Estate,))


def step(shape: Shape, key: Key) -> Shape | None:
    """The shape under `key`; None when nothing may stand there."""
    if isinstance(key, int):
        return shape_of(shape.elements) if shape.elements is not None else None
    for model in shape.models:
        if key in model.model_fields:
            return shape_of(_annotation(model, key))
    if any(model.model_config.get("extra") == "allow" for model in shape.models):
        return shape_of(Any)
    return shape_of(shape.entries) if shape.entries is not None else None


def shape_at(path: KeyPath) -> Shape | None:
    """The shape at a path of keys; None when nothing may stand there."""
    shape: Shape | None = ROOT
    for key in path:
        if shape is None:
            return None
        shape = step(shape, key)
    return shape


@cache
def adapter(section: str) -> TypeAdapter[Any]:
    """The validator of one top-level section."""
    return TypeAdapter(_annotation(Estate, section))


@cache
def defaults_below(shape: Shape) -> Mapping[str, Any]:
    """Keys of a model and their defaults, as JSON values; without the keys that must be given."""
    return {
        key: TypeAdapter(_annotation(model, key)).dump_python(field.default, mode="json")
        for model in shape.models[:1]
        for key, field in model.model_fields.items()
        if not field.is_required()
    }
