"""The provider of a lab's global IPs: SoftLayer's API on the internet side, which really routes, by the keeper.

    python -m backstay.lab.hosts.provider_api LAB --control provider.sock

On the control socket: `{"faults": {"answer": "down", "hits": "writes", "times": 1, "action_s": 2.0, ...}}` (anything of
provider/faults.py; `{}` heals), `{"person": {"ip": "www", "to": "lb3"}}` (somebody else moves it), `{}` asks how many
calls there were.
"""

from __future__ import annotations

import asyncio

from backstay.lab.hosts.outside import main_of, serve
from backstay.lab.keeper.client import call
from backstay.lab.model import Layout
from backstay.lab.plan.layout import PROVIDER_PORT, SECRET_FILE
from backstay.lab.provider import Answer, Faults, Hits, SoftlayerApi
from backstay.lab.state import LabFolder

ANSWER_CALLS = 200  # of the calls, as many are told


class KeeperRoutes:
    """Where the addresses of a lab really are; hosts by their address, as the vendor names them."""

    def __init__(self, folder: LabFolder, owners: dict[str, str]) -> None:
        self._folder = folder
        self._layout: Layout = folder.layout
        self.owners = owners  # global IP -> host

    def owner(self, address: str) -> str | None:
        host = self.owners.get(self._ip(address))
        return self._layout.host(host).address if host else None

    async def route(self, address: str, target: str | None) -> None:
        """Nothing that the lab's agents send unroutes; and a fabric has an owner always."""
        host = next((host.name for host in self._layout.hosts if host.address == target), None)
        if host is not None:
            await self.person(self._ip(address), host)

    async def person(self, ip: str, host: str) -> None:
        await call(self._folder, "route", global_ip=ip, host=host)
        self.owners[ip] = host

    def _ip(self, address: str) -> str:
        return next(ip.name for ip in self._layout.ips if ip.address == address)


class Control:
    """What the control socket asks for."""

    def __init__(self, api: SoftlayerApi, routes: KeeperRoutes) -> None:
        self._api = api
        self._routes = routes
        self._tasks: set[asyncio.Task[None]] = set()

    def apply(self, message: dict[str, object]) -> dict[str, object]:
        faults = message.get("faults")
        if isinstance(faults, dict):
            self._set(self._api.faults, dict(faults))
        person = message.get("person")
        if isinstance(person, dict):
            task = asyncio.create_task(self._routes.person(str(person["ip"]), str(person["to"])))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        calls = list(self._api.calls)
        return {
            "owners": dict(self._routes.owners),
            "reads": sum(not one.writes for one in calls),
            "writes": sum(one.writes for one in calls),
            "calls": [[round(one.at_s, 3), one.method, one.address, one.target] for one in calls[-ANSWER_CALLS:]],
        }

    def _set(self, faults: Faults, given: dict[str, object]) -> None:
        faults.heal()
        times = given.pop("times", None)
        answer, hits = Answer(str(given.pop("answer", "own"))), Hits(str(given.pop("hits", "all")))
        faults.set(answer, hits, int(str(times)) if times is not None else None)
        for name in ("answer_delay_s", "action_s", "retry_after_s"):
            if name in given:
                setattr(faults, name, float(str(given.pop(name))))
        faults.action_fails = bool(given.pop("action_fails", False))
        if given:
            raise ValueError(f"no fault {', '.join(given)}")


async def run(folder: LabFolder, control: str) -> None:
    routes = KeeperRoutes(folder, dict((await call(folder, "status"))["owners"]))
    secret = (folder.path / SECRET_FILE).read_text().strip()
    addresses = [ip.address for ip in folder.layout.ips]
    api = SoftlayerApi(routes, global_ips=addresses, username=secret, api_key=secret)
    await serve(api.app(), folder, PROVIDER_PORT, control, Control(api, routes).apply)


if __name__ == "__main__":
    main_of(__doc__, run)
