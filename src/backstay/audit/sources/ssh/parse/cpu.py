"""/proc/cpuinfo, lscpu, /sys: what the CPU is, its microcode and mitigations, how it is set. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from backstay.audit.sources.ssh.parse.sections import Found, Node, denied, fields, files

# Of one core, or measured in the moment that one looked; sizes and BogoMIPS are lscpu's.
PER_CORE = frozenset(
    {"processor", "core id", "apicid", "initial apicid", "physical id", "siblings", "cpu cores", "cpu mhz", "bogomips"}
)  # fmt: skip
MEASURED = frozenset({"cpu mhz", "cpu(s) scaling mhz"})
SETTINGS = {
    "scaling_governor": "governor",
    "scaling_driver": "scaling driver",
    "scaling_min_freq": "scaling min freq",
    "scaling_max_freq": "scaling max freq",
    "energy_performance_preference": "energy performance preference",
    "cpufreq/boost": "boost",
    "intel_pstate/no_turbo": "no turbo",
    "intel_pstate/status": "pstate",
    "smt/control": "smt",
    "cpuidle/current_driver": "c-state driver",
    "cpuidle/current_governor": "c-state governor",
}


def read_cpu(node: Node, found: Found) -> None:
    _lscpu(node, found)
    _cpuinfo(node, found)
    _mitigations(node, found)
    _settings(node, found)


def _lscpu(node: Node, found: Found) -> None:
    for name, value in fields(node.text("lscpu", found, "cpu.*") or ""):
        fact = name.lower()
        # Caches are read from /sys: lscpu writes them differently from version to version.
        if fact not in MEASURED and not fact.startswith("vulnerability") and not fact.endswith("cache"):
            found.tell(f"cpu.{fact}", value)


def _cpuinfo(node: Node, found: Found) -> None:
    """Cores that differ (microcode that was loaded on some) are several values of one fact."""
    values: dict[str, list[str]] = {}
    for name, value in fields(node.text("cpuinfo", found, "cpu.*") or ""):
        fact = name.lower().replace("_", " ")
        if fact not in PER_CORE and value:
            values.setdefault(fact, []).append(value)
    for fact, several in values.items():
        found.tell(f"cpu.{fact}", several_of(several))


def _mitigations(node: Node, found: Found) -> None:
    text = node.text("mitigations", found, "cpu.mitigations.*", partly=True) or ""
    for path, value in files(text):
        found.tell(f"cpu.mitigations.{path.rpartition('/')[2]}", value)
    for path in denied(text):
        found.hide("not readable", f"cpu.mitigations.{path.rpartition('/')[2]}")


def _settings(node: Node, found: Found) -> None:
    hidden = [*(f"cpu.{fact}" for fact in SETTINGS.values()), *(f"cpu.l{level}*" for level in range(1, 5))]
    text = node.text("cpu-settings", found, *hidden, partly=True) or ""
    values: dict[str, list[str]] = {}
    caches: dict[str, dict[str, str]] = {}
    for path, value in files(text):
        if "/cache/" in path:
            folder, _, key = path.rpartition("/")
            caches.setdefault(folder, {})[key] = value
        elif fact := _setting(path):
            values.setdefault(fact, []).append(value)
    for path in denied(text):
        if fact := _setting(path):
            found.hide("not readable", f"cpu.{fact}")
    for fact, several in values.items():
        found.tell(f"cpu.{fact}", several_of(several))
    for cache in caches.values():
        kind = {"Data": "d", "Instruction": "i"}.get(cache.get("type", ""), "")
        found.tell(f"cpu.l{cache.get('level', '?')}{kind} cache", cache.get("size", ""))


def _setting(path: str) -> str | None:
    return next((fact for ending, fact in SETTINGS.items() if path.endswith(f"/{ending}")), None)


def several_of(values: Iterable[str]) -> str:
    """Each value once, in order."""
    return ", ".join(sorted(set(values)))
