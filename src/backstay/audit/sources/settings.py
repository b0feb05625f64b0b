"""A source's settings, as the estate has them, made into a checked model. One way to say what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from backstay.audit.ports import SourceError, Surroundings
from backstay.estate.files import locate
from backstay.estate.model import Secret
from backstay.estate.secrets import SecretUnavailable, resolve

Settings = TypeVar("Settings", bound=BaseModel)


def checked(model: type[Settings], settings: Mapping[str, Any], kind: str) -> Settings:
    """`settings` as `model`. Raises SourceError: every key that is wrong, what is wrong, and the keys there are."""
    try:
        return model.model_validate(dict(settings))
    except ValidationError as error:
        said = "; ".join(_said(one) for one in error.errors(include_input=False, include_url=False)[:5])
        keys = ", ".join(model.model_fields)
        raise SourceError(f"source {kind}: {said}. Its keys: {keys}. See docs/audit-sources.md.") from None


def _said(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "settings"
    match error["type"]:
        case "extra_forbidden":
            return f"{key}: unknown here"
        case "missing":
            return f"{key}: missing"
        case "secret":
            return f"{key}: write {{file: PATH}}, {{env: NAME}} or {{command: [...]}}, never the secret itself"
    return f"{key}: {str(error['msg'])[:200]}"


def below(around: Surroundings, path: str) -> Path:
    """A path of the settings: relative ones are below the estate file's folder."""
    return locate(around.base, path)


async def secret_of(secret: Secret, around: Surroundings, kind: str) -> str:
    """The secret behind a reference. Raises SourceError, which never holds it."""
    try:
        return await resolve(secret, around.base)
    except SecretUnavailable as error:
        raise SourceError(f"source {kind}: {error}") from None
