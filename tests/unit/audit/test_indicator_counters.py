"""/proc's files and `ethtool -S`: the same indicators as node_exporter's, and what the cards lost, by kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.audit.sources.counters import ethtool, proc
from backstay.audit.sources.counters.source import counted, parts
from backstay.audit.sources.hosts.table import FORMULAS

SECTIONS = {
    "stat": (
        "cpu  300 20 100 4000 50 6 7 8 0 0\ncpu0 100 10 50 2000 25 3 3 4 0 0\ncpu1 200 10 50 2000 25 3 4 4 0 0\n"
        "intr 12345 0 9\nctxt 777\nbtime 1700000000\nprocesses 88\nprocs_running 3\nprocs_blocked 1\n"
    ),
    "loadavg": "0.50 0.40 0.30 2/345 6789\n",
    "meminfo": (
        "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\nCached: 200 kB\nActive(anon): 7 kB\nDirty: 5 kB\n"
        "SwapTotal: 50 kB\nSwapFree: 20 kB\nHugePages_Total: 2\n"
    ),
    "vmstat": "pgmajfault 11\npswpin 12\npswpout 13\noom_kill 14\n",
    "diskstats": (
        "   8  0 sda 10 1 20 3000 30 2 40 5000 0 6000 7000\n   8  1 sda1 10 1 20 3000 30 2 40 5000 0 6000 7000\n"
        " 252  0 dm-0 10 0 20 3000 30 0 40 5000 0 6000 7000 0 0 0 0 0 0\n"
    ),
    "net/dev": (
        "Inter-|   Receive\n face |bytes packets\n"
        "    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0:100 2 3 4 5 6 0 0 200 8 9 10 11 0 12 0\n"
        "  eth1: 1000 20 30 40 50 60 0 0 2000 80 90 100 110 0 120 0\n"
    ),
    "net/snmp": (
        "Tcp: RtoAlgorithm CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts\nTcp: 1 5 100 200 7 1 2\n"
        "Udp: InDatagrams InErrors RcvbufErrors\nUdp: 9 3 2\n"
    ),
    "net/netstat": "TcpExt: ListenOverflows ListenDrops TCPTimeouts\nTcpExt: 1 2 3\n",
    "net/softnet_stat": "00000010 00000002 00000001 00000000\n00000010 0000000a 00000000 00000000\n",
}


def test_proc_gives_every_indicator_of_a_host() -> None:
    found, unread = counted(SECTIONS)
    assert unread == []
    assert found.keys() == FORMULAS.keys()
    assert found["load"] == 0.5
    assert found["cpu_user_seconds_total"] == 3.0
    assert found["cpu_busy_seconds_total"] == pytest.approx(3.0 + 0.2 + 1.0 + 0.06 + 0.07 + 0.08)
    assert found["memory_used_bytes"] == 600 * 1024
    assert found["swap_used_bytes"] == 30 * 1024
    assert found["disk_read_bytes_total"] == 20 * 512
    assert found["disk_read_seconds_total"] == 3.0
    assert found["disk_busy_seconds_total"] == 6.0
    assert found["network_receive_bytes_total"] == 1100
    assert found["network_receive_drops_total"] == 44
    assert found["network_transmit_carrier_errors_total"] == 132
    assert found["network_backlog_drops_total"] == 12
    assert found["tcp_retransmits_total"] == 7
    assert found["tcp_listen_drops_total"] == 2


def test_a_file_that_is_not_there_is_told_and_the_rest_is_read() -> None:
    found, unread = counted({name: text for name, text in SECTIONS.items() if name != "vmstat"} | {"net/dev": ""})
    assert unread == ["/proc/vmstat is empty or not there", "/proc/net/dev is empty or not there"]
    assert found.keys() == {
        name for name in FORMULAS if not name.startswith(("network_receive", "network_transmit", "swap_in", "swap_out"))
    } - {"memory_major_faults_total", "oom_kills_total"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("loadavg", "cat: not found"),
        ("net/dev", "a\nb\neth0: 1 2"),
        ("net/snmp", "Tcp: A B\nUdp: 1 2\n"),
        ("net/snmp", "Tcp: A B\n"),
        ("diskstats", "8 0 sda"),
        ("net/softnet_stat", "zz yy xx"),
        ("meminfo", "MemTotal:"),
    ],
)
def test_a_file_that_is_not_as_we_know_it_is_told(name: str, text: str) -> None:
    found, unread = counted(SECTIONS | {name: text})
    assert [said.split(" (")[0] for said in unread] == [f"/proc/{name} is not as we know it"]
    assert found


@given(st.sampled_from(sorted(proc.READERS)), st.text(max_size=200))
def test_no_text_does_anything_but_give_samples_or_a_reason(name: str, text: str) -> None:
    try:
        proc.read(name, text)
    except ValueError as error:
        assert f"/proc/{name} is not as we know it" in str(error)


VIRTIO = """NIC statistics:
     rx_queue_0_packets: 100
     rx_queue_0_drops: 3
     tx_queue_0_xdp_tx_drops: 4
     rx0_dropped: 9
     rx_dropped: 3
"""
IXGBE = """NIC statistics:
     rx_packets: 12345
     rx_missed_errors: 17
     rx_no_dma_resources: 2
     rx_crc_errors: 0
     tx_timeout_count: 1
     rx_flow_control_xoff: 5
     fdir_miss: 8
     [3]: rx_discards: 6
     rx_out_of_buffer: 4
     nonsense
     huge: x
"""


def test_the_losses_of_a_card_are_told_by_kind_and_queues_left_out() -> None:
    assert ethtool.losses(VIRTIO) == {"nic_rx_dropped_total": 3.0}
    assert ethtool.losses(IXGBE) == {
        "nic_rx_missed_errors_total": 17.0,
        "nic_rx_crc_errors_total": 0.0,
        "nic_tx_timeout_count_total": 1.0,
        "nic_rx_flow_control_xoff_total": 5.0,
        "nic_fdir_miss_total": 8.0,
        "nic_rx_out_of_buffer_total": 4.0,
    }
    assert ethtool.losses("no stats available\n") == {}


def test_the_losses_of_several_cards_are_added_up() -> None:
    found, _ = counted(SECTIONS | {"ethtool eth0": IXGBE, "ethtool eth1": IXGBE, "ethtool eth2": ""})
    assert found["nic_rx_missed_errors_total"] == 34.0


def test_what_the_script_prints_is_taken_apart() -> None:
    assert parts("motd\n#### stat\na\nb\n#### ethtool eth0\n#### end\n") == {
        "stat": "a\nb\n",
        "ethtool eth0": "",
        "end": "",
    }
    assert parts("") == {}
