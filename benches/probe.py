"""`./run bench probe`: probes a second, and CPU and memory a probe, for 5,000 targets.

Targets are real: 500 addresses of 127.0.0.0/8, ten ports each, one server process. Every subject runs in a process of
its own, so its CPU and memory are its own; all share the machine's cores with the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benches.harness import Bench, quantile

ADDRESSES = [f"127.77.{number // 250}.{number % 250 + 1}" for number in range(500)]
PORTS = 10
AT_ONCE = 256  # probes in flight, the same for every subject
STEADY_EVERY_S = 5.0
RSS_LIMIT_MB = 60.0

Target = tuple[str, int]


class Measured(NamedTuple):
    probes: int
    answered: int
    took_s: float
    cpu_s: float
    rss_mb: float | None  # the most that was resident; None: not known of programs (it counts from before the exec)
    rtt_s: Sequence[float]


# The server


class _Answering(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nready")
        self.transport.close()


async def _serve(ready: Connection) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Answering, "0.0.0.0", 0, backlog=4096) for _ in range(PORTS)]
    ready.send([server.sockets[0].getsockname()[1] for server in servers])
    await asyncio.Event().wait()


def serve(ready: Connection) -> None:
    asyncio.run(_serve(ready))


@contextlib.contextmanager
def targets() -> Iterator[list[Target]]:
    """5,000 HTTP targets that answer."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    try:
        if not here.poll(30):
            raise TimeoutError("the server of the targets did not start within 30 s")
        yield [(address, port) for port in here.recv() for address in ADDRESSES]
    finally:
        server.terminate()
        server.join()


# The subjects; each runs in its own process.


async def _rounds(
    probe: Callable[[Target], Awaitable[float | None]], wanted: Sequence[Target], rounds: int
) -> tuple[int, list[float]]:
    """Probe all targets `rounds` times, AT_ONCE at a time; `probe` gives the round trip, or None."""
    queue = iter([target for _ in range(rounds) for target in wanted])
    found: list[float] = []

    async def worker() -> None:
        for target in queue:
            rtt_s = await probe(target)
            if rtt_s is not None:
                found.append(rtt_s)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return len(wanted) * rounds, found


async def _backstay(kind: str, wanted: Sequence[Target], rounds: int) -> tuple[int, list[float]]:
    from backstay.look.model import ProbeKind
    from backstay.look.model import Target as ProbeTarget
    from backstay.look.prober import NetworkProber

    prober = NetworkProber()

    async def probe(target: Target) -> float | None:
        asked = ProbeTarget(kind=ProbeKind(kind), address=target[0], port=target[1])
        seen = await prober.probe(asked, timeout_s=10)
        return seen.rtt_s if seen.ok else None

    try:
        return await _rounds(probe, wanted, rounds)
    finally:
        await prober.close()


async def _aiohttp(_: str, wanted: Sequence[Target], rounds: int) -> tuple[int, list[float]]:
    """What one would write without Backstay: a session, no keep-alive, a timeout, read the body."""
    import aiohttp

    clock = time.perf_counter
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:

        async def probe(target: Target) -> float | None:
            began = clock()
            try:
                async with session.get(f"http://{target[0]}:{target[1]}/", allow_redirects=False) as response:
                    await response.read()
                    return clock() - began if response.status == 200 else None
            except (aiohttp.ClientError, TimeoutError):
                return None

        return await _rounds(probe, wanted, rounds)


def in_process(
    subject: Callable[[str, Sequence[Target], int], Awaitable[tuple[int, list[float]]]],
    kind: str,
    wanted: Sequence[Target],
    rounds: int,
) -> Measured:
    """Run `subject` here; called in a process of its own."""

    async def run() -> tuple[int, list[float]]:
        return await subject(kind, wanted, rounds)

    began, cpu_began = time.perf_counter(), time.process_time()
    probes, rtt_s = asyncio.run(run())
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(probes, len(rtt_s), took_s, cpu_s, rss_mb, rtt_s)


def alone(function: Callable[..., Measured], *arguments: object) -> Measured:
    """Call `function` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def of_program(command: list[str], answered: Callable[[str], int], probes: int) -> Measured:
    """Run a program to its end; called in a process of its own, so that its only child is the program."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took_s = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Measured(
        probes,
        answered(done.stdout + done.stderr),
        took_s,
        used.ru_utime + used.ru_stime,
        None,
        (),
    )


def curl_answered(output: str) -> int:
    return output.count("200\n")


def fping_answered(output: str) -> int:
    """`fping -q -c N` ends with a line a target: `127.0.0.1 : xmt/rcv/%loss = 2/2/0%, ...`."""
    return sum(int(found) for found in re.findall(r"xmt/rcv/%loss = \d+/(\d+)/", output))


# The cases


def record(bench: Bench, case: str, subject: str, found: Measured) -> None:
    bench.record(
        case,
        subject,
        probes=found.probes,
        answered=found.answered,
        probes_per_s=found.probes / found.took_s,
        cpu_us_per_probe=found.cpu_s / found.probes * 1e6,
        rss_mb=found.rss_mb,
        rtt_ms_p50=quantile(found.rtt_s, 0.5) * 1e3 if found.rtt_s else None,
        rtt_ms_p99=quantile(found.rtt_s, 0.99) * 1e3 if found.rtt_s else None,
    )


def compare(bench: Bench, case: str, peers: Sequence[str]) -> None:
    for peer in peers:
        bench.ratio(case, "probes_per_s", "backstay", peer)
        bench.ratio(case, "cpu_us_per_probe", "backstay", peer)
    probes, answered = bench.value(case, "backstay", "probes"), bench.value(case, "backstay", "answered")
    bench.check(case, "every probe answered", met=probes == answered, measured=f"{answered:,.0f} of {probes:,.0f}")
    rss_mb = bench.value(case, "backstay", "rss_mb")
    bench.check(case, f"under {RSS_LIMIT_MB:g} MB resident", met=rss_mb < RSS_LIMIT_MB, measured=rss_mb)


def http(bench: Bench) -> None:
    """5,000 HTTP targets, a new connection each, 256 in flight. Peers: an aiohttp session without keep-alive, and
    curl's parallel transfers."""
    rounds, peers = (2 if bench.short else 10), ["aiohttp session"]
    with targets() as wanted:
        record(bench, "http", "backstay", alone(in_process, _backstay, "http", wanted, rounds))
        record(bench, "http", "aiohttp session", alone(in_process, _aiohttp, "http", wanted, rounds))
        curl = shutil.which("curl")
        if curl is None:
            bench.note("http: curl is not on this machine: not measured")
        else:
            bench.version("curl", version_of([curl, "--version"]))
            record(bench, "http", "curl --parallel", alone(curl_rounds, curl, wanted, rounds))
            peers.append("curl --parallel")
    compare(bench, "http", peers)


def curl_rounds(curl: str, wanted: Sequence[Target], rounds: int) -> Measured:
    with tempfile.NamedTemporaryFile("w", suffix=".curl") as config:
        for address, port in [target for _ in range(rounds) for target in wanted]:
            config.write(f'url = "http://{address}:{port}/"\noutput = "/dev/null"\n')
        config.flush()
        command = [curl, "--parallel", "--parallel-max", str(AT_ONCE), "--no-keepalive", "--silent"]
        command += ["--header", "Connection: close", "--write-out", "%{http_code}\\n", "--config", config.name]
        return of_program(command, curl_answered, len(wanted) * rounds)


def icmp(bench: Bench) -> None:
    """5,000 ICMP targets (addresses of 127.0.0.0/8). Peer: fping without pauses (-i 0)."""
    rounds = 2 if bench.short else 10
    wanted = [(f"127.78.{number // 250}.{number % 250 + 1}", 0) for number in range(5000)]
    found = alone(in_process, _backstay, "icmp", wanted, rounds)
    if not found.answered:
        bench.note("icmp: this user may send no ICMP: run as root, or set net.ipv4.ping_group_range")
        return
    record(bench, "icmp", "backstay", found)
    fping = shutil.which("fping")
    if fping is None:
        bench.note("icmp: fping is not on this machine (package fping): not measured")
    else:
        bench.version("fping", version_of([fping, "--version"]))
        record(bench, "icmp", "fping", alone(fping_rounds, fping, wanted, rounds))
    compare(bench, "icmp", ["fping"] if fping else [])


def fping_rounds(fping: str, wanted: Sequence[Target], rounds: int) -> Measured:
    with tempfile.NamedTemporaryFile("w", suffix=".fping") as addresses:
        addresses.write("".join(f"{address}\n" for address, _ in wanted))
        addresses.flush()
        command = [fping, "-q", "-c", str(rounds), "-i", "0", "-p", "20", "-t", "2000", "-f", addresses.name]
        return of_program(command, fping_answered, len(wanted) * rounds)


def steady(bench: Bench) -> None:
    """5,000 HTTP targets, each every 5 s with its own phase and jitter, as a watch runs for months."""
    duration_s = 10.0 if bench.short else 60.0
    with targets() as wanted:
        found = alone(watch, wanted, duration_s)
    record(bench, "steady", "backstay", found)
    bench.record("steady", "backstay", cpu_percent=found.cpu_s / found.took_s * 100)
    compare(bench, "steady", [])
    expected = len(wanted) * duration_s / STEADY_EVERY_S
    share = found.probes / expected
    bench.check("steady", "95% of the due probes made", met=share >= 0.95, measured=f"{share:.1%}")


def watch(wanted: Sequence[Target], duration_s: float) -> Measured:
    return in_process(_watch, str(duration_s), wanted, 1)


async def _watch(duration_s: str, wanted: Sequence[Target], _: int) -> tuple[int, list[float]]:
    from backstay.look.model import Observation, ProbeKind
    from backstay.look.model import Target as ProbeTarget
    from backstay.look.prober import NetworkProber
    from backstay.look.shell import Watch

    seen: list[Observation] = []
    prober = NetworkProber()
    loop: Watch[Target] = Watch(prober, lambda _, observation: seen.append(observation))
    for target in wanted:
        asked = ProbeTarget(kind=ProbeKind.HTTP, address=target[0], port=target[1])
        loop.put(target, asked, every_s=STEADY_EVERY_S, timeout_s=2)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(float(duration_s)):
            await loop.run()
    await prober.close()
    return len(seen), [observation.rtt_s for observation in seen if observation.ok]


def version_of(command: list[str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", said.stdout + said.stderr)
    return found[0] if found else "unknown"


if __name__ == "__main__":
    if not Path("/proc").exists():
        sys.exit("probe: this bench needs Linux: 127.0.0.0/8 as addresses, and its accounting of CPU and memory")
    bench = Bench(
        "probe",
        "probes a second, CPU and memory for 5,000 targets",
        cases={"http": http, "icmp": icmp, "steady": steady},
        libraries=("aiohttp", "icmplib"),
    )
    sys.exit(bench.run())
