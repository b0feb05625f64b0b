"""One name for one fact, whoever reports it: only where the text is the same, too. Pure.

Facter's `dmi.bios.version`, Ansible's `bios_version` and dmidecode's `Version` under `BIOS Information` are one text of
one place, so they are one fact, `bios.version`. Facter's `processors.models` (one for each CPU) is not lscpu's
`Model name`, so it keeps its name. The words are those of lscpu, dmidecode and ethtool (sources/ssh).
"""

from __future__ import annotations

import re
from functools import lru_cache

# Cards whose name says what they are; others get "nic." before it.
TELLING = re.compile(r"(eth|ens|eno|enp|bond)\w*")
# Root may read these kernel settings, and they are secrets of the node: no source keeps them.
SECRET = re.compile(r"tcp_fastopen_key|stable_secret")

SAME = {
    # Facter 4
    "kernelrelease": "kernel.release",
    "dmi.bios.vendor": "bios.vendor",
    "dmi.bios.version": "bios.version",
    "dmi.bios.release_date": "bios.release date",
    "dmi.board.manufacturer": "board.manufacturer",
    "dmi.board.product": "board.product name",
    "dmi.board.serial_number": "board.serial number",
    "dmi.board.asset_tag": "board.asset tag",
    "dmi.chassis.asset_tag": "chassis.asset tag",
    "dmi.manufacturer": "system.manufacturer",
    "dmi.product.name": "system.product name",
    "dmi.product.serial_number": "system.serial number",
    "dmi.product.uuid": "system.uuid",
    # Ansible's setup
    "ansible.kernel": "kernel.release",
    "ansible.kernel_version": "kernel.version",
    "ansible.machine": "kernel.machine",
    "ansible.nodename": "hostname",
    "ansible.bios_vendor": "bios.vendor",
    "ansible.bios_version": "bios.version",
    "ansible.bios_date": "bios.release date",
    "ansible.board_vendor": "board.manufacturer",
    "ansible.board_name": "board.product name",
    "ansible.board_version": "board.version",
    "ansible.board_serial": "board.serial number",
    "ansible.board_asset_tag": "board.asset tag",
    "ansible.chassis_serial": "chassis.serial number",
    "ansible.chassis_asset_tag": "chassis.asset tag",
    "ansible.system_vendor": "system.manufacturer",
    "ansible.product_name": "system.product name",
    "ansible.product_version": "system.product version",
    "ansible.product_serial": "system.serial number",
    "ansible.product_uuid": "system.uuid",
    # osquery's tables
    "osquery.system_info.cpu_brand": "cpu.model name",
    "osquery.system_info.cpu_microcode": "cpu.microcode",
    "osquery.system_info.hardware_vendor": "system.manufacturer",
    "osquery.system_info.hardware_model": "system.product name",
    "osquery.system_info.hardware_serial": "system.serial number",
    "osquery.system_info.board_vendor": "board.manufacturer",
    "osquery.system_info.board_model": "board.product name",
    "osquery.system_info.board_serial": "board.serial number",
    "osquery.kernel_info.version": "kernel.release",
    "osquery.platform_info.vendor": "bios.vendor",
    "osquery.platform_info.version": "bios.version",
    "osquery.platform_info.date": "bios.release date",
}
_OF_CARD = {
    "mtu": "mtu",
    "mac": "mac address",
    "macaddress": "mac address",
    "module": "driver",
}
_CARD = re.compile(
    r"(?:networking\.interfaces\.([^.]+)\.(mtu|mac)"
    r"|ansible\.((?:eth|ens|eno|enp|bond)\w*)\.(mtu|macaddress|module)"
    r"|osquery\.interface_details\.([^.]+)\.(mtu|mac))"
)
_SYSCTL = re.compile(r"osquery\.system_controls\.(.+)\.current_value")


@lru_cache(maxsize=65536)
def canonical(fact: str) -> str:
    """The one name of `fact`; groups ("dmi.*") stay as they are."""
    if fact in SAME:
        return SAME[fact]
    if match := _CARD.fullmatch(fact):
        card, key = (one for one in match.groups() if one is not None)
        return f"{of_card(card)}.{_OF_CARD[key]}"
    if match := _SYSCTL.fullmatch(fact):
        return f"sysctl.{match[1]}"
    return fact


def of_card(card: str) -> str:
    """What the facts of a network card begin with: "eth0", "nic.p4p1"."""
    return card if TELLING.fullmatch(card) else f"nic.{card}"
