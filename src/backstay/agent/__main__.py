"""The agent's process: `python -m backstay.agent`. `backstay agent run` becomes this one, without the command line's
libraries in its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from backstay.agent.lean import import_lean


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 ended as asked, 1 could not start."""
    parser = argparse.ArgumentParser(prog="backstay agent run", description="The daemon on a load balancer.")
    parser.add_argument("--estate", type=Path, required=True)
    parser.add_argument("--as", dest="lb", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--engine-binary", type=Path)
    parser.add_argument("--stop-engine", action="store_true")
    given = parser.parse_args(argv)
    import_lean()
    from backstay import logs, systemd
    from backstay.agent.shell import run
    from backstay.agent.start import CannotStart, Options

    systemd.take()
    logs.configure()
    options = Options(
        estate=given.estate,
        lb=given.lb,
        state=given.state_dir,
        run=given.run_dir,
        engine_binary=given.engine_binary,
        stop_engine=given.stop_engine,
    )
    try:
        asyncio.run(run(options))
    except CannotStart as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever started it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
