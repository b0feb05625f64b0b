"""`backstay init | validate | spare | schema | config show`: the estate file, its faults and its arithmetic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backstay.cli.options import DEFAULT_ESTATE, EstateOption, SetOption, YesOption, load_or_fail, overrides
from backstay.cli.output import Exit, Format, Output, confirm, emit, fail, note

if TYPE_CHECKING:
    from backstay.estate import Fault, Loaded
    from backstay.estate.spare import Group

init = typer.Typer(add_completion=False)
validate = typer.Typer(add_completion=False)
spare = typer.Typer(add_completion=False)
schema = typer.Typer(add_completion=False)
config = typer.Typer(add_completion=False, no_args_is_help=True, help="The estate as it is in force.")


@init.command()
def write_estate(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = DEFAULT_ESTATE,
    yes: YesOption = False,
) -> None:
    """Write a commented estate file, and its JSON Schema beside it for your editor."""
    from importlib.resources import files

    schema_path = path.with_suffix(".schema.json")
    if path.exists():
        confirm(f"{path} is there already. Overwrite it?", yes=yes)
    template = files("backstay.estate").joinpath("template.yaml").read_text(encoding="utf-8")
    try:
        schema_path.write_text(_schema_text() + "\n", encoding="utf-8")
        path.write_text(f"# yaml-language-server: $schema={schema_path.name}\n{template}", encoding="utf-8")
    except OSError as error:
        fail(f"{error.filename}: not written: {error.strerror}. Name a folder that is there and yours.")
    note(f"Wrote {path} and {schema_path}. Next: edit it, then `backstay validate --estate {path}`.")


def _schema_text() -> str:
    from backstay.estate.schema import json_schema

    return json.dumps(json_schema(), indent=2)


@validate.command()
def report_faults(
    estate: EstateOption = DEFAULT_ESTATE,
    sets: SetOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are findings too (exit code 3).")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Report every fault of the estate file at once, each with line and column; then the warnings."""
    from backstay.estate import EstateFaults, EstateUnreadable, load_file

    try:
        loaded = load_file(estate, overrides(sets))
    except EstateUnreadable as unreadable:
        fail(str(unreadable))
    except EstateFaults as invalid:
        _emit_faults([("fault", fault) for fault in invalid.faults], output)
        note(f"{estate}: {len(invalid.faults)} fault{'s' * (len(invalid.faults) > 1)}.")
        raise typer.Exit(int(Exit.FINDINGS)) from None
    _emit_faults([("warning", fault) for fault in loaded.warnings], output)
    note(f"{estate}: no faults, {len(loaded.warnings)} warning{'s' * (len(loaded.warnings) != 1)}. {_size(loaded)}.")
    if strict and loaded.warnings:
        raise typer.Exit(int(Exit.FINDINGS))


def _emit_faults(found: Sequence[tuple[str, Fault]], output: Format) -> None:
    if output is not Format.TABLE:
        emit([{"severity": severity, **asdict(fault)} for severity, fault in found], output)
    elif found:
        emit("\n".join(f"{severity}: {fault}" for severity, fault in found), output)


def _size(loaded: Loaded) -> str:
    estate = loaded.estate
    counts = {
        "node": len(estate.nodes),
        "cluster": len(estate.clusters),
        "tier": len(estate.tiers),
        "pool": len(estate.pools),
    }
    return ", ".join(f"{count:,} {noun}{'s' * (count != 1)}" for noun, count in counts.items())


@spare.command()
def report_spare(estate: EstateOption = DEFAULT_ESTATE, sets: SetOption = None, output: Output = Format.TABLE) -> None:
    """Does each cluster, tier and global IP survive the loss of any node, failure path, zone or region?

    Exit code 3 when one does not bear what N+1 or `promises` ask of it; `backstay validate` says which.
    """
    from backstay.estate.spare import groups, warnings

    loaded = load_or_fail(estate, sets)
    found = list(groups(loaded.estate))
    emit([_group_data(group) for group in found], output, rows=[_group_row(group) for group in found])
    if any(warnings(loaded.estate)):
        note("Some of it does not hold what N+1 or the promises ask: see `backstay validate`.")
        raise typer.Exit(int(Exit.FINDINGS))


def _group_data(group: Group) -> dict[str, Any]:
    worst = {
        str(loss.level): {"name": loss.name, "lost": loss.lost, "survives": group.survives(loss.level)}
        for loss in group.worst
    }
    return {"kind": group.section, "name": group.name, "members": group.members, "needed": group.needed, "worst": worst}


def _group_row(group: Group) -> dict[str, Any]:
    cells = {}
    for loss in group.worst:
        more = f" +{loss.others}" if loss.others else ""
        verdict = "yes" if group.survives(loss.level) else "NO"
        cells[f"any {loss.level}"] = f"{verdict}, -{loss.lost} ({loss.name}{more})" if loss.lost else "yes"
    return {"of": f"{group.section}.{group.name}", "members": group.members, "needed": group.needed, **cells}


@schema.command()
def print_schema(output: Output = Format.JSON) -> None:
    """Print the JSON Schema (draft 2020-12) of the estate file."""
    from backstay.estate.schema import json_schema

    emit(json_schema(), Format.JSON if output is Format.TABLE else output)


@config.callback()
def config_group() -> None:
    """The estate as it is in force."""


@config.command("show")
def show_config(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Only what is below, as in pools.web.check.")] = "",
    estate: EstateOption = DEFAULT_ESTATE,
    sets: SetOption = None,
    origin: Annotated[bool, typer.Option("--origin", help="Tell where each value came from.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show the values in force, defaults included. Precedence: defaults < file < BACKSTAY_* < --set."""
    loaded = load_or_fail(estate, sets)
    if origin:
        found = [entry for entry in loaded.origins if not key or _is_below(entry.path, key)]
        if not found:
            fail(f"{key}: nothing there. `backstay config show` prints everything.", Exit.USAGE)
        emit([{"key": o.path, "value": o.value, "origin": o.source} for o in found], output, rows=_origin_rows(found))
        return
    value: Any = loaded.estate.model_dump(mode="json")
    for part in key.split(".") if key else ():
        if not isinstance(value, dict) or part not in value:
            fail(f"{key}: nothing there. `backstay config show` prints everything.", Exit.USAGE)
        value = value[part]
    emit(value, Format.YAML if output is Format.TABLE else output)


def _is_below(path: str, key: str) -> bool:
    return path == key or path.startswith((f"{key}.", f"{key}["))


def _origin_rows(found: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"key": o.path, "value": json.dumps(o.value, ensure_ascii=False), "origin": o.source} for o in found]
