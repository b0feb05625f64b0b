"""Who is measured: Backstay, and keepalived as its users run it where a provider routes the address.

keepalived's configuration has nothing but what its own examples and manual have: `vrrp_script` with `killall -0` every
2 s (samples/keepalived.conf.vrrp.localcheck), `unicast_peer` since providers carry no multicast, defaults else; its
`notify_master` calls the provider's API once, which is the least that such a script can do.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from abc import ABC, abstractmethod
from datetime import datetime
from pathlib import Path
from typing import Any

from backstay.agent.client import AgentClient, AgentError
from backstay.balance.engines.binary import find
from backstay.estate.model import EngineKind
from backstay.lab import build, proc
from backstay.lab.model import WITNESS, LabError
from backstay.lab.plan.layout import PROVIDER_PORT, SECRET_FILE
from backstay.lab.provider.softlayer_api import FIRST_ID, GLOBAL, PREFIX
from benches.takeover.range import Range, until

START_S = 40.0
REST_S = 30.0
JUST_BEFORE_S = 1.0  # a miss may be noted before the last process is seen to be dead
SETTLED_S = 5.0  # an agent that started knows its round trips by then

NGINX = """\
user root;
worker_processes 1;
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    upstream web {{ {servers} }}
    server {{
        listen 80;
        listen 443 ssl;
        ssl_certificate {tls}/app.crt;
        ssl_certificate_key {tls}/app.key;
        location / {{ proxy_pass http://web; proxy_set_header Host $host; }}
    }}
}}
"""

KEEPALIVED = """\
global_defs {{
    script_user root
}}
vrrp_script chk_nginx {{
    script "{killall} -0 nginx"
    interval 2
}}
vrrp_instance www {{
    interface eth0
    state {state}
    priority {priority}
    virtual_router_id 51
    {timing}
    unicast_src_ip {address}
    unicast_peer {{
        {peer}
    }}
    virtual_ipaddress {{
        {ip}/32 dev lo
    }}
    track_script {{
        chk_nginx
    }}
    notify_master {home}/route.sh
}}
"""

ROUTE = """\
#!/bin/sh
# To be the master is to have the provider route the address here.
exec {curl} --silent --show-error --max-time 10 --config {home}/api.curl
"""

API = """\
url = "{url}"
user = "{secret}:{secret}"
data = "{{\\"parameters\\": [\\"{address}\\"]}}"
"""

HOST = """\
#!/bin/sh
# A process namespace of its own, as a machine is: `killall -0 nginx` sees this host's engine and no other's.
rm -f {home}/*.pid  # as a boot does
{nginx} -c {home}/nginx.conf &
exec {keepalived} --dont-fork --log-console --vrrp --use-file {home}/keepalived.conf \\
    --pid {home}/keepalived.pid --vrrp_pid {home}/vrrp.pid
"""


class Contender(ABC):
    """A pair: `active` holds the address `ip` in health, `standby` is to take it."""

    name: str
    version: str

    def __init__(self, range: Range, ip: str) -> None:
        self.range = range
        self.ip = ip
        self.active, self.standby = range.ip(ip).candidates
        self.strayed = 0  # times that the address was found moved though nothing had been done

    @abstractmethod
    async def start(self) -> None:
        """Everything on both hosts, and the witness."""

    @abstractmethod
    async def at_rest(self) -> bool:
        """The active serves, and the standby watches as it would after an uneventful hour."""

    @abstractmethod
    async def restore(self, fault: str) -> None:
        """After `fault`: the active lives and has the address; what was learnt of the fault is forgotten."""

    @abstractmethod
    async def again(self) -> None:
        """Start both hosts' watchers anew: it does not come to rest by itself."""

    @abstractmethod
    async def told(self) -> str:
        """How the two see themselves, for people."""

    @abstractmethod
    def pids(self, host: str) -> list[int]:
        """The processes that watch."""

    async def rest(self) -> None:
        """Wait for it. An address that strayed meanwhile is put back. Raises LabError when it does not come to rest."""

        async def well() -> bool:
            if await self.range.owner(self.ip) != self.active:
                self.strayed += 1
                await self.range.put(self.ip, self.active)
            return await self.range.served(self.ip) and await self.at_rest()

        try:
            await until(well, REST_S, f"{self.name} at rest")
        except LabError as error:
            raise LabError(f"{error} It says: {await self.told()}") from error

    def _spawned(self, host: str, *words: str) -> list[int]:
        """The processes on `host` with one of these words on their command line."""
        found = []
        for pid in proc.pids_in_folder(self.range.home(host)):
            try:
                line = (proc.PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if any(word in line for word in words):
                found.append(pid)
        return found


class Backstay(Contender):
    """Real agents with real engines. An agent learns: faults a few seconds apart, which no estate has, would make it
    ask for more evidence each time. So the standby begins each round with an empty memory."""

    name = "Backstay"

    def __init__(self, range: Range, ip: str) -> None:
        super().__init__(range, ip)
        engine = find(EngineKind.NGINX, "newest")
        self._engine = {"BACKSTAY_NGINX": engine.binary}
        self.version = ".".join(str(part) for part in engine.version)
        self._began_s = 0.0

    async def start(self) -> None:
        for host in (self.active, self.standby):
            await self._start_agent(host)
        for host in (self.active, self.standby):
            await until(lambda host=host: self._serves(host), START_S, f"the engine on {host}")  # type: ignore[misc]
        await self.range.watch(self.ip)

    async def at_rest(self) -> bool:
        if time.monotonic() < self._began_s + SETTLED_S:
            return False
        views = [await self._view(host) for host in (self.active, self.standby)]
        found = [(view.get("state"), view.get("owner")) for view in views]
        return found == [("active", self.active), ("watching", self.active)]

    async def restore(self, fault: str) -> None:
        range = self.range
        await range.stop(self.standby, "agent")
        (range.home(self.standby) / "state" / "failover" / f"{self.ip}.json").unlink(missing_ok=True)
        await range.put(self.ip, self.active)
        await range.heal(self.active)
        await until(lambda: self._serves(self.active), START_S, f"the engine on {self.active}")
        await self._start_agent(self.standby)

    async def again(self) -> None:
        await self.range.stop(self.active, "agent")
        await self._start_agent(self.active)
        await self.restore("")

    async def told(self) -> str:
        return ", ".join([f"{host} {(await self._view(host)).get('state')}" for host in (self.active, self.standby)])

    def pids(self, host: str) -> list[int]:
        return self._spawned(host, "backstay.agent", "backstay.failover.providers.apart")

    async def stages(self, since: float) -> dict[str, float]:
        """Seconds from `since` (Unix) until the standby noted the first miss, and was convinced."""
        async with self._agent(self.standby) as agent:
            events = await agent.ip_history(self.ip)
        found: dict[str, float] = {}
        for event in events:
            at_s = datetime.fromisoformat(event["time"]).timestamp() - since
            if at_s >= -JUST_BEFORE_S:
                found.setdefault(event["kind"], at_s)
        wanted = {"first_miss_s": "ip.suspected", "convinced_s": "ip.takeover_started"}
        return {stage: found[kind] for stage, kind in wanted.items() if kind in found}

    async def _start_agent(self, host: str) -> None:
        range = self.range
        started = build.processes(range.folder, range.layout, [host], 0.0)
        argv = next(argv for at, role, argv in started if (at, role) == (host, "agent"))
        await range.spawn(host, "agent", list(argv), self._engine)
        self._began_s = time.monotonic()

    def _agent(self, host: str) -> AgentClient:
        return AgentClient(host, socket=self.range.folder.run / f"{host}.sock")

    async def _view(self, host: str) -> dict[str, Any]:
        try:
            async with self._agent(host) as agent:
                return dict(await agent.ip(self.ip, timeout_s=3.0))
        except AgentError:
            return {}

    async def _serves(self, host: str) -> bool:
        try:
            async with self._agent(host) as agent:
                status = await agent.status()
        except AgentError:
            return False
        checked = all(pool["active"] == pool["backends"] for pool in status["pools"])
        return bool(status["in_sync"] and status["engine"]["running"] and checked)


class Keepalived(Contender):
    """`timing`: what the configuration says of adverts."""

    def __init__(self, range: Range, ip: str, name: str, timing: str) -> None:
        super().__init__(range, ip)
        self.name = name
        self._timing = timing
        self._read_from: dict[str, int] = {}  # host -> where in its log this life of it began
        self._programs = {name: program(name) for name in ("keepalived", "killall", "curl")}
        self._nginx = find(EngineKind.NGINX, "newest").binary

    async def start(self) -> None:
        self._write(self.active, self.standby, "MASTER", 200)
        self._write(self.standby, self.active, "BACKUP", 100)
        for host in (self.active, self.standby):
            argv = ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", self._file(host, "host.sh")]
            await self.range.spawn(host, "keepalived", argv)
        await until(self.at_rest, START_S, f"{self.name} with its master")
        await self.range.put(self.ip, self.active)  # both may have been master for a moment
        await self.range.watch(self.ip)

    async def at_rest(self) -> bool:
        return (self._state(self.active), self._state(self.standby)) == ("MASTER", "BACKUP")

    async def restore(self, fault: str) -> None:
        if fault == "crash":  # it is started anew: what its state was says nothing
            self._read_from[self.active] = self._log(self.active).stat().st_size
        await self.range.put(self.ip, self.active)
        await self.range.heal(self.active)

    async def again(self) -> None:
        for host in (self.active, self.standby):
            await self.range.fault("crash", host)
            self._read_from[host] = self._log(host).stat().st_size
            await self.range.heal(host)

    async def told(self) -> str:
        return ", ".join(f"{host} {self._state(host)}" for host in (self.active, self.standby))

    def pids(self, host: str) -> list[int]:
        return self._spawned(host, f"{self._programs['keepalived']}\0--dont-fork")

    def _state(self, host: str) -> str:
        """The last that its log tells of; "" before any."""
        try:
            with self._log(host).open() as log:
                log.seek(self._read_from.get(host, 0))
                found = re.findall(r"Entering (\w+) STATE", log.read())
        except FileNotFoundError:
            return ""
        return str(found[-1]) if found else ""

    def _log(self, host: str) -> Path:
        return self.range.folder.log / f"{host}-keepalived.log"

    def _file(self, host: str, name: str) -> str:
        return str(self.range.home(host) / name)

    def _write(self, host: str, peer: str, state: str, priority: int) -> None:
        range, home = self.range, self.range.home(host)
        web = [range.address(server.host) for server in range.layout.web]
        id_ = FIRST_ID + [ip.name for ip in range.layout.ips].index(self.ip)
        values = {
            "home": home,
            "tls": range.folder.tls,
            "servers": " ".join(f"server {address}:8000;" for address in web),
            "state": state,
            "priority": priority,
            "timing": self._timing,
            "address": range.address(host),
            "peer": range.address(peer),
            "ip": range.ip(self.ip).address,
            "secret": (range.folder.path / SECRET_FILE).read_text().strip(),
            "url": f"http://{range.address(WITNESS)}:{PROVIDER_PORT}{PREFIX}/{GLOBAL}/{id_}/route.json",
            "nginx": shlex.quote(self._nginx),
            **self._programs,
        }
        texts = {
            "nginx.conf": NGINX,
            "keepalived.conf": KEEPALIVED,
            "route.sh": ROUTE,
            "api.curl": API,
            "host.sh": HOST,
        }
        for name, text in texts.items():
            (home / name).write_text(text.format_map(values))
        (home / "route.sh").chmod(0o700)


PACKAGES = {"keepalived": "keepalived", "killall": "psmisc", "curl": "curl", "nft": "nftables"}


def program(name: str) -> str:
    """Its path. Raises LabError with the package to install."""
    found = which(name)
    if found is None:
        raise LabError(f"{name} is not on this machine. Debian, Ubuntu: apt install {PACKAGES[name]}")
    return found


def which(name: str) -> str | None:
    # Debian keeps daemons where an ordinary user's PATH does not reach.
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
