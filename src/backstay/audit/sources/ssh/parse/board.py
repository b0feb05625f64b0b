"""dmidecode, and the little of it that /sys shows to everybody: BIOS, system, board, chassis, memory parts. Pure.

The texts are dmidecode's own (SMBIOS types 0, 1, 2, 3, 4 and 17), names lower case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from backstay.audit.sources.reports import NEEDS_ROOT
from backstay.audit.sources.ssh.parse.cpu import several_of
from backstay.audit.sources.ssh.parse.sections import Found, Node, denied, fields, files

KEPT: dict[str, tuple[str, dict[str, str]]] = {
    "BIOS Information": ("bios", {
        "Vendor": "vendor", "Version": "version", "Release Date": "release date",
        "BIOS Revision": "revision", "Firmware Revision": "firmware revision",
    }),
    "System Information": ("system", {
        "Manufacturer": "manufacturer", "Product Name": "product name", "Version": "product version",
        "Serial Number": "serial number", "UUID": "uuid", "SKU Number": "sku number",
    }),
    "Base Board Information": ("board", {
        "Manufacturer": "manufacturer", "Product Name": "product name", "Version": "version",
        "Serial Number": "serial number",
    }),
    "Chassis Information": ("chassis", {
        "Manufacturer": "manufacturer", "Type": "form", "Serial Number": "serial number", "Asset Tag": "asset tag",
    }),
    "Processor Information": ("cpu", {
        "Manufacturer": "manufacturer", "Version": "version", "Part Number": "part number", "Max Speed": "max speed",
        "External Clock": "external clock",
    }),
}  # fmt: skip
SYSFS = {
    "bios_vendor": "bios.vendor", "bios_version": "bios.version", "bios_date": "bios.release date",
    "board_vendor": "board.manufacturer", "board_name": "board.product name", "board_version": "board.version",
    "board_serial": "board.serial number", "sys_vendor": "system.manufacturer",
    "product_name": "system.product name", "product_version": "system.product version",
    "product_serial": "system.serial number", "product_uuid": "system.uuid",
}  # fmt: skip
DIMM = {
    "Size": "size", "Type": "type", "Speed": "speed", "Manufacturer": "manufacturer", "Part Number": "part number",
    "Serial Number": "serial number", "Rank": "rank",
    "Configured Memory Speed": "configured speed", "Configured Clock Speed": "configured speed",
}  # fmt: skip
OF_ALL = ("manufacturer", "part number", "type", "speed", "configured speed", "rank")
EMPTY = "No Module Installed"
GROUPS = (
    *(f"{kind}.*" for kind in ("bios", "system", "board", "chassis", "memory")),
    *(f"cpu.{fact}" for fact in KEPT["Processor Information"][1].values()),
)

Table = tuple[str, dict[str, str]]  # its title, and its fields


def read_board(node: Node, found: Found) -> None:
    text = node.text("dmidecode", found, *GROUPS)
    several: dict[str, list[str]] = {}
    modules: list[dict[str, str]] = []
    for title, table in tables(text or ""):
        if title == "Memory Device":
            modules.append(table)
        elif title in KEPT:
            kind, names = KEPT[title]
            for name, fact in names.items():
                several.setdefault(f"{kind}.{fact}", []).append(table.get(name, ""))
    for fact, values in several.items():
        found.tell(fact, several_of(value for value in values if value))
    _memory(modules, found)
    _sysfs(node, found)


def _sysfs(node: Node, found: Found) -> None:
    """Fills in what dmidecode could not, or was not let read."""
    text = node.text("board", found, *SYSFS.values(), partly=True) or ""
    for path, value in files(text):
        if fact := SYSFS.get(path.rpartition("/")[2]):
            found.tell(fact, value)
    for path in denied(text):
        if fact := SYSFS.get(path.rpartition("/")[2]):
            found.hide(NEEDS_ROOT, fact)


def _memory(modules: list[dict[str, str]], found: Found) -> None:
    """Each slot, and what all modules say together."""
    present = [module for module in modules if module.get("Size", EMPTY) != EMPTY]
    labels = Counter(module.get("Locator", "") for module in modules)
    for number, module in enumerate(modules):
        label = module.get("Locator", "") or str(number)
        if labels[module.get("Locator", "")] > 1:  # boards with two sockets may have two slots called A1
            label = f"{module.get('Bank Locator', '')} {label} #{number}".strip()
        kept = DIMM if module in present else {"Size": "size"}
        for name, fact in kept.items():
            found.tell(f"memory.dimm {label}.{fact}", _same_unit(module.get(name, "")))
    for fact in OF_ALL:
        names = [name for name, called in DIMM.items() if called == fact]
        values = (_same_unit(module[name]) for module in present for name in names if name in module)
        found.tell(f"memory.{fact}", several_of(values))
    if modules:
        found.tell("memory.dimm count", str(len(present)))


def _same_unit(value: str) -> str:
    # dmidecode 3.1 and before write MHz, later ones MT/s, and mean the same.
    return f"{value.removesuffix(' MHz')} MT/s" if value.endswith(" MHz") else value


def tables(text: str) -> Iterator[Table]:
    """The tables that dmidecode printed; indented twice is a list below a field, and left out."""
    for block in text.split("Handle 0x")[1:]:
        lines = block.split("\n")[1:]
        title = lines[0].strip() if lines else ""
        body = "\n".join(line for line in lines[1:] if line.startswith("\t") and not line.startswith("\t\t"))
        yield title, dict(fields(body))
