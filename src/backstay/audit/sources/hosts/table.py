"""Indicator -> the metrics of node_exporter that it is the sum of. Counters end in _total, times are seconds.

Devices are summed. Left out are those that pass on what another one has carried (bridges, bonds, VLANs, partitions,
device mapper) and those of containers: they come and go, and a sum that loses a part looks like a reset.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from backstay.audit.model import Series, SeriesKind
from backstay.audit.sources.hosts.selector import Matcher, Sample, Selector

COUNTER_SUFFIX = "_total"
_VIRTUAL_NICS = (
    r"lo|(veth|docker|br-|virbr|vnet|tap|tun|wg|cni|flannel|cali|cilium|lxc|dummy|ifb|bond|team|kube|ovs|vxlan).*"
    r"|.*\.\d+|br\d+"
)
_VIRTUAL_DISKS = r"(z?ram|loop|fd|dm-|md|sr|nbd)\d+|(h|s|v|xv)d[a-z]+\d+|(nvme\d+n|mmcblk)\d+p\d+"
_NICS = (Matcher("device", "!~", _VIRTUAL_NICS),)
_DISKS = (Matcher("device", "!~", _VIRTUAL_DISKS),)


@dataclass(frozen=True, slots=True)
class Formula:
    """What an indicator is: the sum of `plus`, less that of `minus`."""

    plus: tuple[Selector, ...]
    minus: tuple[Selector, ...] = ()

    @property
    def metrics(self) -> frozenset[str]:
        return frozenset(selector.metric for selector in (*self.plus, *self.minus))

    def value(self, samples: Mapping[str, Iterable[Sample]]) -> float | None:
        """`samples`: by metric. None where a part is missing: a sum without it would be another number."""
        total = 0.0
        for sign, part in ((1.0, self.plus), (-1.0, self.minus)):
            for selector in part:
                found = [one.value for one in samples.get(selector.metric, ()) if selector.fits(one)]
                if not found:
                    return None
                total += sign * sum(found)
        return total

    def promql(self, label: str, within: tuple[Matcher, ...] = ()) -> str:
        """A sum for each value of `label`. `within`: matchers that every selector gets, too (job="node")."""

        def term(selector: Selector) -> str:
            return f"sum by ({label}) ({Selector(selector.metric, (*selector.matchers, *within))})"

        text = " + ".join(term(selector) for selector in self.plus)
        return text + "".join(f" - {term(selector)}" for selector in self.minus)


def kind_of(indicator: str) -> SeriesKind:
    return SeriesKind.COUNTER if indicator.endswith(COUNTER_SUFFIX) else SeriesKind.GAUGE


def values(formulas: Mapping[str, Formula], samples: Iterable[Sample]) -> dict[str, float]:
    """Every indicator that the samples give."""
    by_metric: dict[str, list[Sample]] = {}
    for sample in samples:
        by_metric.setdefault(sample.metric, []).append(sample)
    found = {indicator: formula.value(by_metric) for indicator, formula in formulas.items()}
    return {indicator: value for indicator, value in found.items() if value is not None}


def single(node: str, indicator: str, time_s: float, value: float) -> Series:
    """One sample; whether it counts is told by its name."""
    return Series(
        node=node, indicator=indicator, times_s=np.array([time_s]), values=np.array([value]), kind=kind_of(indicator)
    )


def _of(metric: str, *matchers: Matcher) -> Formula:
    return Formula((Selector(metric, matchers),))


def _mode(mode: str, how: str = "=") -> Formula:
    return _of("node_cpu_seconds_total", Matcher("mode", how, mode))


def _used(total: str, free: str) -> Formula:
    return Formula((Selector(total),), (Selector(free),))


SCRAPED = Selector("node_load1")  # every node_exporter has it, once

FORMULAS: Mapping[str, Formula] = {
    "load": _of("node_load1"),
    "load_5m": _of("node_load5"),
    "processes_runnable": _of("node_procs_running"),
    "processes_blocked": _of("node_procs_blocked"),
    "forks_total": _of("node_forks_total"),
    "context_switches_total": _of("node_context_switches_total"),
    "interrupts_total": _of("node_intr_total"),
    "cpu_busy_seconds_total": _mode("idle|iowait", "!~"),
    **{
        f"cpu_{mode}_seconds_total": _mode(mode)
        for mode in ("user", "nice", "system", "irq", "softirq", "steal", "iowait", "idle")
    },
    "memory_used_bytes": _used("node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes"),
    "memory_cached_bytes": _of("node_memory_Cached_bytes"),
    "memory_dirty_bytes": _of("node_memory_Dirty_bytes"),
    "swap_used_bytes": _used("node_memory_SwapTotal_bytes", "node_memory_SwapFree_bytes"),
    "swap_in_pages_total": _of("node_vmstat_pswpin"),
    "swap_out_pages_total": _of("node_vmstat_pswpout"),
    "memory_major_faults_total": _of("node_vmstat_pgmajfault"),
    "oom_kills_total": _of("node_vmstat_oom_kill"),
    "disk_reads_total": _of("node_disk_reads_completed_total", *_DISKS),
    "disk_writes_total": _of("node_disk_writes_completed_total", *_DISKS),
    "disk_read_bytes_total": _of("node_disk_read_bytes_total", *_DISKS),
    "disk_written_bytes_total": _of("node_disk_written_bytes_total", *_DISKS),
    "disk_read_seconds_total": _of("node_disk_read_time_seconds_total", *_DISKS),
    "disk_write_seconds_total": _of("node_disk_write_time_seconds_total", *_DISKS),
    "disk_busy_seconds_total": _of("node_disk_io_time_seconds_total", *_DISKS),
    "network_receive_bytes_total": _of("node_network_receive_bytes_total", *_NICS),
    "network_receive_packets_total": _of("node_network_receive_packets_total", *_NICS),
    "network_receive_errors_total": _of("node_network_receive_errs_total", *_NICS),
    "network_receive_drops_total": _of("node_network_receive_drop_total", *_NICS),
    "network_receive_fifo_errors_total": _of("node_network_receive_fifo_total", *_NICS),
    "network_receive_frame_errors_total": _of("node_network_receive_frame_total", *_NICS),
    "network_transmit_bytes_total": _of("node_network_transmit_bytes_total", *_NICS),
    "network_transmit_packets_total": _of("node_network_transmit_packets_total", *_NICS),
    "network_transmit_errors_total": _of("node_network_transmit_errs_total", *_NICS),
    "network_transmit_drops_total": _of("node_network_transmit_drop_total", *_NICS),
    "network_transmit_fifo_errors_total": _of("node_network_transmit_fifo_total", *_NICS),
    "network_transmit_carrier_errors_total": _of("node_network_transmit_carrier_total", *_NICS),
    "network_backlog_drops_total": _of("node_softnet_dropped_total"),
    "network_backlog_squeezes_total": _of("node_softnet_times_squeezed_total"),
    "tcp_connections": _of("node_netstat_Tcp_CurrEstab"),
    "tcp_sent_segments_total": _of("node_netstat_Tcp_OutSegs"),
    "tcp_retransmits_total": _of("node_netstat_Tcp_RetransSegs"),
    "tcp_timeouts_total": _of("node_netstat_TcpExt_TCPTimeouts"),
    "tcp_resets_sent_total": _of("node_netstat_Tcp_OutRsts"),
    "tcp_receive_errors_total": _of("node_netstat_Tcp_InErrs"),
    "tcp_listen_drops_total": _of("node_netstat_TcpExt_ListenDrops"),
    "tcp_listen_overflows_total": _of("node_netstat_TcpExt_ListenOverflows"),
    "udp_receive_errors_total": _of("node_netstat_Udp_InErrors"),
    "udp_receive_buffer_errors_total": _of("node_netstat_Udp_RcvbufErrors"),
}
