# Reads what a node is made of; changes nothing. Sent to `sh -s MARK SECONDS SUDO`.
#
# Prints sections: "MARK begin NAME", what a command printed (both streams), "MARK end STATUS"; last "MARK done".
# MARK is new each time, so that nothing a node prints can look like one. SECONDS bounds each command, where the node
# has timeout(1). SUDO is "sudo -n" or empty: before what only root may read.
# POSIX sh; GNU and BusyBox. "grep . /dev/null FILES" prints "FILE:LINE".

section() {
    printf '\n%s begin %s\n' "$mark" "$1"
    shift
    "$@"
    printf '\n%s end %s\n' "$mark" "$?"
}

show() { bounded grep . /dev/null "$@"; }

identity() { id -u; uname -r; uname -v; uname -m; uname -n; }

release() { cat /etc/os-release || cat /usr/lib/os-release; }

cpu_settings() {
    cpu=/sys/devices/system/cpu
    show $cpu/cpu[0-9]*/cpufreq/scaling_governor $cpu/cpu[0-9]*/cpufreq/scaling_driver \
        $cpu/cpu[0-9]*/cpufreq/scaling_min_freq $cpu/cpu[0-9]*/cpufreq/scaling_max_freq \
        $cpu/cpu[0-9]*/cpufreq/energy_performance_preference $cpu/cpufreq/boost \
        $cpu/intel_pstate/no_turbo $cpu/intel_pstate/status $cpu/smt/control \
        $cpu/cpuidle/current_driver $cpu/cpuidle/current_governor $cpu/cpu0/cache/index*/level \
        $cpu/cpu0/cache/index*/type $cpu/cpu0/cache/index*/size
}

kernel_settings() {
    show /sys/kernel/mm/transparent_hugepage/enabled /sys/kernel/mm/transparent_hugepage/defrag \
        /sys/devices/system/clocksource/clocksource0/current_clocksource
}

memory() { bounded grep -E '^(MemTotal|SwapTotal|HugePages_Total|Hugepagesize):' /proc/meminfo; }

disk() {
    show "$1/queue/scheduler" "$1/queue/rotational" "$1/queue/nr_requests" "$1/queue/read_ahead_kb" \
        "$1/queue/write_cache" "$1/size" "$1/device/model" "$1/device/rev" "$1/device/firmware_rev" "$1/device/vendor"
}

nic() {
    show "$1/address" "$1/mtu" "$1/speed" "$1/duplex" "$1/tx_queue_len" "$1/device/vendor" "$1/device/device" \
        "$1/device/subsystem_vendor" "$1/device/subsystem_device" "$1/device/numa_node" "$1/bonding/mode" \
        "$1/bonding/slaves" "$1/bonding/xmit_hash_policy"
    [ ! -e "$1/device/driver" ] || printf '%s/driver:%s\n' "$1" "$(basename "$(readlink "$1/device/driver")")"
}

nics() {
    for one in /sys/class/net/*; do
        [ -e "$one/device" ] || [ -d "$one/bonding" ] || continue
        section "nic ${one##*/}" nic "$one"
        for what in i g l k c; do
            section "ethtool -$what ${one##*/}" bounded ethtool "-$what" "${one##*/}"
        done
    done
}

disks() {
    for one in /sys/block/*; do
        [ -e "$one/device" ] && section "disk ${one##*/}" disk "$one"
    done
}

board() {
    dmi=/sys/class/dmi/id
    show $dmi/bios_vendor $dmi/bios_version $dmi/bios_date $dmi/board_vendor $dmi/board_name $dmi/board_version \
        $dmi/board_serial $dmi/sys_vendor $dmi/product_name $dmi/product_version $dmi/product_serial \
        $dmi/product_uuid $dmi/chassis_type
}

packages() {
    if command -v dpkg-query >/dev/null; then
        section dpkg bounded dpkg-query -W -f '${db:Status-Abbrev}\t${Package}\t${Version}\n'
    elif command -v rpm >/dev/null; then
        section rpm bounded rpm -qa --qf '%{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\n'
    fi
}

main() {
    mark=$1 seconds=$2 sudo=$3
    LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    export LC_ALL PATH
    if timeout "$seconds" true; then
        bounded() { timeout "$seconds" "$@"; }
    else
        bounded() { "$@"; }
    fi
    section identity identity
    section os-release release
    section debian-version show /etc/debian_version
    section cmdline cat /proc/cmdline
    section lscpu bounded lscpu
    section cpuinfo sort -u /proc/cpuinfo
    section mitigations show /sys/devices/system/cpu/vulnerabilities/*
    section cpu-settings cpu_settings
    section kernel-settings kernel_settings
    section memory memory
    section nics nics
    section disks disks
    section board board
    section dmidecode bounded $sudo dmidecode -t 0 -t 1 -t 2 -t 3 -t 4 -t 17
    section mounts cat /proc/mounts
    section sysctl bounded $sudo sysctl -a
    section packages packages
    printf '\n%s done\n' "$mark"
}

main "$@" </dev/null 2>&1
