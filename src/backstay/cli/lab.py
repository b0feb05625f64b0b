"""`backstay lab`: an estate on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from backstay.cli.output import Exit, Format, Output, emit, fail, note
from backstay.estate import EstateFaults
from backstay.lab import build
from backstay.lab.examples import example_file
from backstay.lab.keeper.client import call
from backstay.lab.machines.parts import Cpu, Machine
from backstay.lab.machines.record import cpus
from backstay.lab.model import SERVER, FabricKind, FaultKind, LabError, Published
from backstay.lab.state import LabFolder, find_labs, labs_root, the_lab
from backstay.lab.traffic import watch

T = TypeVar("T")
HEAL = "heal"

lab = typer.Typer(no_args_is_help=True, help="An estate on this machine: up, down, faults, traffic, demo.")

EstateArgument = Annotated[
    Path | None, typer.Argument(metavar="[ESTATE]", help="The estate file. Default: the example that comes along.")
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="The lab's name. Default: the estate's, or the only lab.")
]
RootOption = Annotated[
    Path | None,
    typer.Option("--state-dir", metavar="DIR", envvar="BACKSTAY_LAB_DIR", help="Where labs live."),
]
FabricOption = Annotated[
    FabricKind | None, typer.Option("--fabric", help="What hosts are made of. Default: the best this machine allows.")
]
ServerOption = Annotated[
    bool, typer.Option("--server/--no-server", help="With the server and its console, and the agents enrolled with it.")
]


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; what the lab cannot do is a message and exit status 1."""
    try:
        return asyncio.run(work)
    except (LabError, EstateFaults) as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _the_lab(root: Path | None, name: str | None) -> LabFolder:
    try:
        return the_lab(labs_root(root), name)
    except LabError as error:
        fail(str(error))


@lab.command()
def up(
    estate: EstateArgument = None,
    name: NameOption = None,
    root: RootOption = None,
    fabric: FabricOption = None,
    service_ms: Annotated[
        float, typer.Option("--service-ms", min=0, help="Time that a request takes on a demo web server.")
    ] = build.SERVICE_MS,
    server: ServerOption = True,
    output: Output = Format.TABLE,
) -> None:
    """Build the estate on this machine; it stays until `lab down`."""

    async def work() -> build.Lab:
        source = estate or example_file()
        asked = build.Options(
            source=source, root=labs_root(root), name=name, fabric=fabric, service_ms=service_ms, server=server
        )
        made = await build.up(asked, note)
        await made.detach()
        return made

    made = _run(work())
    for stage, seconds in made.stages:
        note(f"  {stage}: {seconds:.1f} s")
    view = _view(made.folder)
    if output is Format.TABLE:
        for line in _how_to_reach(made.folder):
            note(line)
    emit(view, output, rows=[{key: view[key] for key in ("lab", "fabric", "hosts", "folder")}])


def _view(folder: LabFolder) -> dict[str, Any]:
    record = folder.record
    return {
        "lab": record.name,
        "fabric": str(record.fabric),
        "why": record.why,
        "alive": folder.keeper_alive(),
        "hosts": len(folder.layout.hosts),
        "estate": record.source,
        "created_at": record.created_at,
        "folder": str(folder.path),
        "published": {p.name: f"{_scheme(p)}://{p.hostname}:{p.port}/" for p in record.published},
        "server": asdict(record.served) if record.served else None,
        "env": _environment(folder),
    }


def _environment(folder: LabFolder) -> dict[str, str]:
    return {
        "BACKSTAY_ESTATE": str(folder.estate_file),
        "BACKSTAY_RUN_DIR": str(folder.run),
        "BACKSTAY_AUDIT_STATE": str(folder.audit),
    }


def _how_to_reach(folder: LabFolder) -> list[str]:
    lines = ["", "Commands reach this lab with:"]
    lines += [f"  export {key}={value}" for key, value in _environment(folder).items()]
    lines.append("The services, from this machine:")
    services = [p for p in folder.record.published if p.name != SERVER]
    for p in services:
        trust = f"--cacert {folder.ca} " if p.tls else ""
        url = f"{_scheme(p)}://{p.hostname}:{p.port}/"
        lines.append(f"  {p.name}: curl {trust}--resolve {p.hostname}:{p.port}:127.0.0.1 {url}")
    served = folder.record.served
    if served is not None:
        lines += [
            "The console, in this machine's browser (its certificate is the lab's own):",
            f"  {served.link}",
            f"  sets the password of {served.user}, once; then {served.url}",
        ]
    return [*lines, ""]


def _scheme(published: Published) -> str:
    return "https" if published.tls else "http"


@lab.command()
def down(
    name: NameOption = None,
    root: RootOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every lab.")] = False,
) -> None:
    """End a lab: no process, namespace, route or file of it stays."""
    labs = find_labs(labs_root(root)) if everything else [_the_lab(root, name)]
    for folder in labs:
        _run(build.down(folder))
        note(f"{folder.path.name}: down")


@lab.command(name="list")
def list_(root: RootOption = None, output: Output = Format.TABLE) -> None:
    """The labs of this machine."""
    views = []
    for folder in find_labs(labs_root(root)):
        try:
            views.append(_view(folder))
        except LabError as error:
            note(str(error))
    emit(
        views,
        output,
        rows=[{key: view[key] for key in ("lab", "fabric", "alive", "hosts", "folder")} for view in views],
    )


@lab.command()
def env(name: NameOption = None, root: RootOption = None) -> None:
    """Print the variables with which commands reach a lab: eval "$(backstay lab env)"."""
    folder = _the_lab(root, name)
    emit("\n".join(f"export {key}='{value}'" for key, value in _environment(folder).items()), Format.TABLE)


@lab.command()
def status(name: NameOption = None, root: RootOption = None, output: Output = Format.TABLE) -> None:
    """Hosts, what runs on them, faults in force, and who holds the global IPs."""
    folder = _the_lab(root, name)
    state = _run(call(folder, "status"))
    faults = folder.faults()
    rows = [
        {
            "host": host.name,
            "zone": host.zone,
            "address": host.address,
            "running": [process["role"] for process in state["hosts"][host.name] if process["alive"]],
            "ended": [process["role"] for process in state["hosts"][host.name] if not process["alive"]],
            "holds": [ip for ip, owner in state["owners"].items() if owner == host.name],
            "faults": [str(f.kind) for f in faults if any(step.do.host == host.name for step in f.steps)],
        }
        for host in folder.layout.hosts
    ]
    emit(_view(folder) | {"rows": rows, "owners": state["owners"]}, output, rows=rows)


@lab.command()
def fault(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(FaultKind)}, or {HEAL}.")],
    target: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A host, zone or failure path. heal: all.")
    ] = None,
    amount: Annotated[
        float | None, typer.Option("--amount", help="loss: per cent each way. slow: times, or milliseconds on a host.")
    ] = None,
    name: NameOption = None,
    root: RootOption = None,
) -> None:
    """Inject a fault, or heal it. Whatever stays is undone by `lab down`."""
    if kind != HEAL and (kind not in set(FaultKind) or target is None):
        fail(f"Say KIND and NAME; KIND is one of {', '.join(FaultKind)}, {HEAL}.", Exit.USAGE)
    folder = _the_lab(root, name)
    if kind == HEAL:
        note(f"healed: {_run(call(folder, 'heal', name=target))}")
        return
    _run(call(folder, "fault", kind=kind, name=target, amount=amount))
    note(f"{target}: {kind}. Undo: backstay lab fault heal {target}")


@lab.command()
def cpu(
    node: Annotated[str | None, typer.Argument(metavar="NODE", help=f"A node, or {HEAL}.")] = None,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help=f"{', '.join(Cpu)}. {HEAL}: a NODE; default: all.")
    ] = None,
    name: NameOption = None,
    root: RootOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Put another CPU into a machine: its facts, its load and its drops follow. Without NODE: what is in each."""
    folder = _the_lab(root, name)
    if node == HEAL:
        names = [machine.name for machine in folder.layout.machines] if version is None else [version]
        _run(call(folder, "cpu", names=names, cpu=None))
        note(f"{', '.join(names)}: the CPU that came with it")
        return
    if node is not None:
        if version not in set(Cpu):
            fail(
                f"Say NODE and VERSION; VERSION is one of {', '.join(Cpu)}. Undo: backstay lab cpu {HEAL}.", Exit.USAGE
            )
        _run(call(folder, "cpu", names=[node], cpu=version))
        note(f"{node}: CPU {version}. Undo: backstay lab cpu {HEAL} {node}")
        return
    rows = [
        {"node": machine.name, "cluster": machine.cluster, "cpu": str(now), "came with": str(machine.cpu)}
        for machine, now in _cpus(folder)
    ]
    emit(rows, output)


def _cpus(folder: LabFolder) -> list[tuple[Machine, Cpu]]:
    try:
        return cpus(folder)
    except LabError as error:
        fail(str(error))


@lab.command()
def traffic(
    rate: Annotated[
        float, typer.Option("--rate", min=0.1, max=20_000, help="Requests a second to each global IP.")
    ] = 200.0,
    duration: Annotated[float | None, typer.Option("--duration", metavar="S", help="Default: until Ctrl-C.")] = None,
    ip: Annotated[list[str] | None, typer.Option("--ip", help="A global IP. Repeatable. Default: all.")] = None,
    name: NameOption = None,
    root: RootOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Open-loop traffic from the internet side to the global IPs, and what the users saw. 0: nothing failed, else 1."""
    folder = _the_lab(root, name)
    unknown = set(ip or ()) - {known.name for known in folder.layout.ips}
    if unknown:
        fail(f"No global IP of this lab: {', '.join(sorted(unknown))}.", Exit.USAGE)
    chosen = [known for known in folder.layout.ips if not ip or known.name in ip]
    note(f"{rate:g} requests a second to {', '.join(known.name for known in chosen)}. Ctrl-C ends it.")
    figures = _run(watch(folder, chosen, rate=rate, duration_s=duration))
    rows = [{"global_ip": key, **asdict(value)} for key, value in figures.items()]
    emit(rows, output)
    if any(value.failed for value in figures.values()):
        raise typer.Exit(int(Exit.FAILED))


@lab.command()
def demo(  # noqa: PLR0913, PLR0917 - one an option
    once: Annotated[bool, typer.Option("--once", help="End after the verdict. Default: stay up until Ctrl-C.")] = False,
    chapter: Annotated[list[str] | None, typer.Option("--chapter", help="Only this one. Repeatable.")] = None,
    rate: Annotated[
        float, typer.Option("--rate", min=1, max=2_000, help="Requests a second to each global IP.")
    ] = 100.0,
    watch_s: Annotated[
        float, typer.Option("--watch", metavar="S", min=0.5, help="How long a steady state is watched.")
    ] = 5.0,
    name: NameOption = None,
    root: RootOption = None,
    fabric: FabricOption = None,
    server: ServerOption = True,
    output: Output = Format.TABLE,
) -> None:
    """The example estate, shown and verified step by step. The exit status is the verdict: 0 all right, 1 not."""
    from backstay.lab.demo.chapters import SERVICE_MS
    from backstay.lab.demo.run import Shown, demo
    from backstay.lab.demo.scene import Tempo

    say = _narrator()

    def verdict(made: build.Lab, shown: Shown) -> None:
        rows = [row.as_data() for row in shown.rows]
        claims = [claim.as_data() for claim in shown.claims]
        data = {
            "fabric": shown.fabric,
            "why": shown.why,
            "up_s": round(shown.up_s, 1),
            "took_s": round(shown.took_s, 1),
            "failure": shown.failure,
            "passed": shown.passed,
            "rows": rows,
            "claims": claims,
        }
        if rows or output is not Format.TABLE:
            emit(data, output, rows=rows, title="Verdict")
        if claims and output is Format.TABLE:
            emit(claims, output, title="What the audit claimed, and what is so")
        word = "All right" if shown.passed else "NOT all right"
        say(f"{word}: {shown.took_s:.0f} s, of which {shown.up_s:.0f} s to come up.")
        if not once:
            for line in _how_to_reach(made.folder):
                say(line)
            say("The lab stays up. Ctrl-C ends it.")

    options = build.Options(
        source=_example(),
        root=labs_root(root),
        name=name or "demo",
        fabric=fabric,
        service_ms=SERVICE_MS,
        server=server,
    )
    tempo = Tempo(rate=rate, watch_s=watch_s)
    shown = _run(demo(options, chapter or [], tempo, say, then=verdict, stay=not once))
    if not shown.passed:
        raise typer.Exit(int(Exit.FAILED))


def _example() -> Path:
    try:
        return example_file()
    except LabError as error:
        fail(str(error))


def _narrator() -> Callable[[str], None]:
    """Narration for people, on stderr; commands stand out, figures stay readable without colour."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, style="bold cyan" if line.startswith("$ ") else None, markup=False)

    return say
