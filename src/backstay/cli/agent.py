"""`backstay agent run | enrol | unit`: the daemon on a load balancer."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from backstay.cli.options import DEFAULT_ESTATE, EstateOption
from backstay.cli.output import Exit, fail, note

agent = typer.Typer(no_args_is_help=True, add_completion=False, help="The daemon on a load balancer.")

AsOption = Annotated[str, typer.Option("--as", metavar="NODE", help="Which load balancer of the estate this one is.")]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        help="What it keeps. Default: BACKSTAY_STATE_DIR/NODE, else /var/lib/backstay/NODE, else XDG_STATE_HOME.",
    ),
]
RunOption = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        metavar="DIR",
        help="Its socket. Default: BACKSTAY_RUN_DIR, else /run/backstay, else XDG_RUNTIME_DIR.",
    ),
]
BinaryOption = Annotated[
    Path | None, typer.Option("--engine-binary", metavar="FILE", help="The engine; default: see backstay doctor.")
]


@agent.command("run")
def run_agent(
    node: AsOption,
    estate: EstateOption = DEFAULT_ESTATE,
    state_dir: StateOption = None,
    run_dir: RunOption = None,
    engine_binary: BinaryOption = None,
    stop_engine: Annotated[bool, typer.Option("--stop-engine", help="End the engine when the agent ends.")] = False,
) -> NoReturn:
    """Run it in the foreground until SIGTERM; SIGHUP rereads the estate file. The engine serves on without it."""
    from backstay.agent import paths
    from backstay.agent.lean import ENVIRONMENT

    if engine_binary is not None and not os.access(engine_binary, os.X_OK):
        fail(f"{engine_binary}: not there, or not executable. Name the engine's binary.", Exit.USAGE)
    argv = [sys.executable, "-m", "backstay.agent", "--estate", str(estate), "--as", node]
    argv += ["--state-dir", str(state_dir or paths.state_dir(node)), "--run-dir", str(run_dir or paths.run_dir())]
    argv += ["--engine-binary", str(engine_binary.absolute())] if engine_binary else []
    argv += ["--stop-engine"] if stop_engine else []
    # A fresh process: what this command line imported would stay in the agent's memory (15 MB).
    os.execve(sys.executable, argv, ENVIRONMENT | os.environ)  # noqa: S606 - our own interpreter


@agent.command("enrol")
def enrol_agent(
    node: AsOption,
    server: Annotated[str, typer.Option("--server", metavar="URL", help="https://HOST:PORT")],
    join_token_file: Annotated[
        Path,
        typer.Option("--join-token-file", metavar="FILE", help="The join token, good once; - reads it from stdin."),
    ],
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="FILE", help="Who vouches for the server: its ca.crt (PEM).")
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option("--fingerprint", metavar="sha256:HEX", help="Instead of --ca: the authority's fingerprint."),
    ] = None,
    state_dir: StateOption = None,
) -> None:
    """Have the agent of NODE follow a server from now on. One that runs takes it up by itself."""
    import asyncio

    from backstay.agent import paths
    from backstay.agent.link.client import Away, LinkError, NotLetIn
    from backstay.agent.link.enrolling import enrol

    if (ca is None) == (fingerprint is None):
        fail("Say who vouches for the server: --ca FILE, or --fingerprint sha256:HEX.", Exit.USAGE)
    token = _read(join_token_file, "the join token")
    files = paths.StateFiles((state_dir or paths.state_dir(node)).absolute())
    try:
        enrolled = asyncio.run(
            enrol(
                files, url=server, lb=node, join_token=token, ca=_read(ca, "the CA") if ca else None,
                fingerprint=fingerprint,
            )
        )  # fmt: skip
    except NotLetIn as error:
        fail(str(error), Exit.REFUSED)
    except Away as error:
        fail(str(error), Exit.UNREACHABLE)
    except LinkError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{files.link}: {error.strerror}. Run it as the agent's user, or name its --state-dir.")
    note(f"{node} is enrolled with {enrolled.url} for estate {enrolled.estate}. An agent that runs follows it at once.")


def _read(file: Path, what: str) -> str:
    """The text of a small file, or of stdin; ends the command when there is none."""
    try:
        text = sys.stdin.read(65_536) if str(file) == "-" else file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: {what} cannot be read: {error}", Exit.USAGE)
    if not text.strip():
        fail(f"{file}: empty; {what} should be in it.", Exit.USAGE)
    return text.strip()


@agent.command("unit")
def print_unit() -> None:
    """Print the systemd unit (a template: backstay-agent@NODE.service)."""
    from importlib.resources import files

    print(files("backstay.agent").joinpath("backstay-agent@.service").read_text(encoding="utf-8"), end="")
