"""Netlink of the `namespaces` fabric: namespaces held by descriptors, a veth pair a host, a bridge a zone.

A node's address is a /32: its way out is a gateway that every zone's bridge answers for, and the core has a /32 route
to it. So an estate may give its nodes any addresses, whatever their prefixes, and a global IP is one more route.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute  # type: ignore[attr-defined]
from pyroute2.netlink.exceptions import NetlinkError

from backstay.lab.model import Host, LabError

CLONE_NEWNET = 0x40000000  # linux/sched.h
GATEWAY = "169.254.1.1"  # link-local (RFC 3927): never an estate's own
_THREAD_NS = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


def _call(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise LabError(f"{what}: {os.strerror(number)}. Another fabric: --fabric loopback.")


def _netlink() -> Any:
    """A netlink socket of the present namespace, as a context."""
    return IPRoute()  # type: ignore[no-untyped-call]


def new_namespace() -> int:
    """A new network namespace, alive as long as the returned descriptor (or a process in it)."""
    own = os.open(_THREAD_NS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call(_libc.unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)")
        made = os.open(_THREAD_NS, os.O_RDONLY | os.O_CLOEXEC)
        _call(_libc.setns(own, CLONE_NEWNET), "setns")
    finally:
        os.close(own)
    return made


@contextmanager
def entered(namespace: int) -> Iterator[None]:
    """This thread is inside `namespace`; sockets and children made meanwhile stay there."""
    own = os.open(_THREAD_NS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call(_libc.setns(namespace, CLONE_NEWNET), "setns")
        yield
    finally:
        _libc.setns(own, CLONE_NEWNET)
        os.close(own)


def build_core(zones: Sequence[str]) -> dict[str, int]:
    """The router in the present namespace: zone -> index of its bridge."""
    _sysctl("net/ipv4/ip_forward", "1")
    with _netlink() as ip:
        ip.link("set", index=1, state="up")
        bridges = {}
        for number, zone in enumerate(zones, start=1):
            name = f"zone{number}"  # interface names hold 15 bytes, zones 63
            ip.link("add", ifname=name, kind="bridge")
            bridges[zone] = index = ip.link_lookup(ifname=name)[0]
            # Two nodes of a zone reach each other by the core; without this it would tell them to go direct.
            _sysctl(f"net/ipv4/conf/{name}/send_redirects", "0")
            ip.link("set", index=index, state="up")
            ip.addr("add", index=index, address=GATEWAY, prefixlen=32)
        _sysctl("net/ipv4/conf/all/send_redirects", "0")
    return bridges


def connect_hosts(hosts: Sequence[Host], namespaces: dict[str, int], bridges: dict[str, int]) -> dict[str, int]:
    """A veth pair from each host to the bridge of its zone, and the core's route: host -> index of the core's end."""
    ends = {}
    with _netlink() as ip:
        for number, host in enumerate(hosts, start=1):
            name = f"host{number}"
            ip.link("add", ifname=name, kind="veth", peer={"ifname": "eth0", "net_ns_fd": namespaces[host.name]})
            ends[host.name] = index = ip.link_lookup(ifname=name)[0]
            ip.link("set", index=index, master=bridges[host.zone], state="up")
            ip.route("add", dst=f"{host.address}/32", oif=bridges[host.zone], scope="link")
    return ends


def configure_host(namespace: int, host: Host, held: Sequence[str]) -> None:
    """Inside the host: its address, the addresses that may be routed to it, its way out."""
    with entered(namespace), _netlink() as ip:
        ip.link("set", index=1, state="up")
        for address in held:
            ip.addr("add", index=1, address=address, prefixlen=32)
        eth0 = ip.link_lookup(ifname="eth0")[0]
        ip.link("set", index=eth0, state="up")
        ip.addr("add", index=eth0, address=host.address, prefixlen=32)
        ip.route("add", dst=f"{GATEWAY}/32", oif=eth0, scope="link")
        ip.route("add", dst="default", gateway=GATEWAY, oif=eth0, prefsrc=host.address)
        # Programs on these hosts bind low ports and ping as they would as root.
        _sysctl("net/ipv4/ip_unprivileged_port_start", "0")
        _sysctl("net/ipv4/ping_group_range", "0 0")


def set_link(index: int, *, up: bool) -> None:
    with _netlink() as ip:
        ip.link("set", index=index, state="up" if up else "down")


def set_route(address: str, via: Host, bridge: int) -> None:
    """Route `address`/32 to the host `via`, in one step: there is no moment without a route."""
    with _netlink() as ip:
        ip.route("replace", dst=f"{address}/32", gateway=via.address, oif=bridge, flags="onlink")


def set_delay(index: int, delay_ms: float) -> None:
    """Delay what leaves by this interface; 0 ends it. Raises NetlinkError without netem."""
    with _netlink() as ip:
        if delay_ms:
            ip.tc("replace", "netem", index, handle="1:", delay=int(delay_ms * 1000))
        else:
            _ignore_missing(ip, index)


def _ignore_missing(ip: Any, index: int) -> None:
    try:
        ip.tc("del", index=index, root=True)
    except NetlinkError as error:
        if error.code not in (2, 22):  # ENOENT, EINVAL: there was none
            raise


def has_netem() -> bool:
    """Try it on the core's own loopback."""
    try:
        set_delay(1, 1)
        set_delay(1, 0)
    except NetlinkError:
        return False
    return True


def _sysctl(key: str, value: str) -> None:
    (Path("/proc/sys") / key).write_text(value)
