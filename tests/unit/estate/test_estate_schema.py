"""The JSON Schema, and the documentation of every key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from backstay.estate.model import Estate
from backstay.estate.schema import ROOT, json_schema, shape_at, shape_of

DOCS = (Path(__file__).parents[3] / "docs" / "estate.md").read_text(encoding="utf-8")


def keys(model: type[BaseModel], prefix: str, seen: tuple[type[BaseModel], ...] = ()) -> Iterator[str]:
    """Every key of the file, as docs/estate.md writes it: pools.NAME.check.port, services.NAME.routes[].path."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path
        shape = shape_of(field.annotation)
        if shape.entries is not None:
            path, shape = f"{path}.NAME", shape_of(shape.entries)
        elif shape.elements is not None:
            path, shape = f"{path}[]", shape_of(shape.elements)
        for below in shape.models:
            if below not in seen:
                yield from keys(below, f"{path}.", (*seen, below))


SECRET_KEYS = ("env", "file", "command")  # documented once, under Secrets
KEYS = sorted({key for key in keys(Estate, "") if key.rsplit(".", 1)[-1] not in SECRET_KEYS})


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_documented(key: str) -> None:
    assert f"`{key}`" in DOCS


def test_secret_references_are_documented() -> None:
    assert all(f"{{{key}:" in DOCS for key in SECRET_KEYS)


def test_the_schema_names_itself_and_refuses_unknown_keys() -> None:
    schema = json_schema()
    assert schema["$id"] == "urn:backstay:estate:1"
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Estate.model_fields)
    assert json.loads(json.dumps(schema)) == schema


def test_the_shape_of_a_path() -> None:
    assert ROOT.keys()[0] == "estate"
    check = shape_at(("pools", "web", "check"))
    assert check is not None
    assert check.keys()[:3] == ("path", "port", "interval_s")
    assert shape_at(("pools", "web", "chek")) is None
    assert shape_at(("estate", "x")) is None


def test_every_key_has_a_description_in_the_schema() -> None:
    schema = json_schema()
    models = {"Estate": schema, **{name: model for name, model in schema["$defs"].items() if "properties" in model}}
    bare = [
        f"{name}.{key}"
        for name, model in models.items()
        for key, entry in model["properties"].items()
        if not entry.get("description") and key != "kind"
    ]
    assert bare == []
