"""The witness as a program. See `--help`; ends well on SIGTERM and SIGINT, with the summary as its last line."""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

from backstay.look.traffic.connection import Endpoint
from backstay.look.traffic.flight import Flight, Load
from backstay.look.traffic.report import Report
from backstay.look.traffic.run import ClosedLoop, OpenLoop
from backstay.look.traffic.websocket import EchoSocket
from backstay.look.witness import Witness

_EPILOG = """\
Open loop (default): --rate arrivals a second, whatever the service does. Closed loop: --clients users, each with a
pause of 0 to --think-ms between an answer and the next request, --requests in all.
The report is JSON lines: start, progress, failure, summary. Exit status: 0 (a failed request is a finding of the
report, not of this program), 1 the report or the authority cannot be used, 2 usage."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m backstay.look.traffic",
        description="Send traffic as users would, and say what they saw.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = made.add_argument_group("where")
    where.add_argument("--address", required=True, help="IP address to connect to")
    where.add_argument("--port", type=_number(int, 1, 65535), required=True)
    where.add_argument("--host", help="Host header, SNI and certificate name (default: the address)")
    where.add_argument("--source", help="local address to send from")
    where.add_argument("--tls", action="store_true", help="HTTPS")
    where.add_argument("--ca", metavar="FILE", help="authority to trust (default: the system's)")
    what = made.add_argument_group("what")
    what.add_argument("--path", type=_path, default="/")
    what.add_argument("--post-share", type=_number(float, 0, 1), default=0.5, help="POSTs (default %(default)s)")
    what.add_argument("--body-bytes", type=_number(int, 32, 60_000), default=256, help="of POSTs (default %(default)s)")
    what.add_argument("--timeout", type=_number(float, 0.01, 600), default=5.0, metavar="S", help="default %(default)s")
    what.add_argument("--slow", type=_number(float, 0.0001, 600), default=1.0, metavar="S", help="default %(default)s")
    loop = made.add_argument_group("open loop")
    loop.add_argument("--rate", type=_number(float, 0.01, 20_000), default=100.0, help="a second (default %(default)s)")
    loop.add_argument("--connections", type=_number(int, 0, 10_000), default=32, help="kept idle (default %(default)s)")
    loop.add_argument(
        "--new-share", type=_number(float, 0, 1), default=0.1, help="over a new connection (default %(default)s)"
    )
    closed = made.add_argument_group("closed loop")
    closed.add_argument("--clients", type=_number(int, 1, 10_000), help="users (this selects the closed loop)")
    closed.add_argument("--think-ms", type=_number(float, 0, 600_000), default=20.0, help="default %(default)s")
    closed.add_argument("--requests", type=_number(int, 1, 10**9), help="in all (default: until --duration)")
    sockets = made.add_argument_group("WebSockets, beside either")
    sockets.add_argument(
        "--websockets", type=_number(int, 0, 10_000), default=0, help="kept open (default %(default)s)"
    )
    sockets.add_argument("--websocket-path", type=_path, default="/live")
    sockets.add_argument("--websocket-every", type=_number(float, 0.01, 3600), default=1.0, metavar="S")
    end = made.add_argument_group("end and report")
    end.add_argument("--duration", type=_number(float, 0.01, 10**7), metavar="S", help="default: until SIGTERM")
    end.add_argument("--report", default="-", metavar="FILE", help="JSON lines (default: stdout)")
    end.add_argument("--report-every", type=_number(float, 0.05, 3600), default=1.0, metavar="S")
    return made


def _number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], float]:
    """A type for argparse: a number between `least` and `most`."""

    def convert(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:g}")
        return value

    convert.__name__ = "number"  # argparse names the type in its error
    return convert


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r}: a path begins with / and is plain ASCII without spaces")
    return text


def _endpoint(options: argparse.Namespace) -> Endpoint:
    """Raises OSError when the authority cannot be read."""
    tls = ssl.create_default_context(cafile=options.ca) if options.tls else None
    host = options.host or options.address
    return Endpoint(address=options.address, port=options.port, host=host, tls=tls, source=options.source)


async def run(options: argparse.Namespace, endpoint: Endpoint, report: Report, witness: Witness) -> None:
    """Send until the end or a signal; wait for what is in flight; a second signal waits for nothing."""
    loop, stop, hurry = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    if options.duration:
        loop.call_later(options.duration, stop.set)
    load = Load(
        path=options.path, timeout_s=options.timeout, post_share=options.post_share, body_bytes=options.body_bytes
    )
    flight = Flight(endpoint, load, witness, report)
    traffic: OpenLoop | ClosedLoop
    if options.clients:
        traffic = ClosedLoop(flight, clients=options.clients, think_s=options.think_ms / 1e3, requests=options.requests)
    else:
        traffic = OpenLoop(
            flight, report, rate_per_s=options.rate, connections=options.connections, new_share=options.new_share
        )
    async with asyncio.TaskGroup() as tasks:
        reporting = tasks.create_task(_report(report, options.report_every))
        for _ in range(options.websockets):
            echo = EchoSocket(
                endpoint,
                options.websocket_path,
                witness,
                report,
                every_s=options.websocket_every,
                timeout_s=options.timeout,
            )
            tasks.create_task(echo.run(stop))
        await traffic.run(stop)
        while len(flight) and not hurry.is_set():
            flight.expire(loop.time())
            with suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), 0.02)
        flight.abandon()
        traffic.close()
        reporting.cancel()
    report.summary(loop.time())


async def _report(report: Report, every_s: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + every_s, loop.time())
        await asyncio.sleep(due - loop.time())
        report.progress(loop.time())


def main() -> int:
    options = parser().parse_args()
    witness = Witness(slow_s=options.slow)
    try:
        endpoint = _endpoint(options)
        with nullcontext(sys.stdout) if options.report == "-" else Path(options.report).open("w") as out:
            report = Report(out, witness)
            report.start(vars(options))
            asyncio.run(run(options, endpoint, report, witness))
    except OSError as error:
        sys.stderr.write(f"traffic: {error}: check --report, --ca and --address\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
