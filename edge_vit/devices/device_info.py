"""Read what a machine says about itself: cores, clocks, temperatures, battery, build."""

import re
from dataclasses import asdict, dataclass

from edge_vit.devices.cpu import arm_parts, describe_cpu
from edge_vit.devices.machine import Machine, MachineError

# One script, one round trip. Everything may be missing: phones hide files, Debian has no getprop, old Android no
# dumpsys service.
# Reading with the shell's own `read` rather than `cat`: a process costs much on an emulated device.
_PROBE = r"""
show() { [ -r "$2" ] && read -r v <"$2" && echo "$1 $v"; }
if command -v getprop >/dev/null; then
    for p in ro.product.manufacturer ro.product.model ro.soc.manufacturer ro.soc.model ro.board.platform ro.hardware \
        ro.build.version.release ro.build.version.sdk ro.build.fingerprint ro.kernel.qemu ro.boot.qemu; do
        echo "prop $p $(getprop $p)"
    done
fi
echo "machine $(uname -m)"
show kernel /proc/sys/kernel/osrelease || echo "kernel $(uname -r)"
echo "parent $(readlink /proc/$PPID/exe 2>/dev/null) $(readlink /proc/1/exe 2>/dev/null)"
[ -r /proc/device-tree/model ] && echo "board $(tr -d '\0' </proc/device-tree/model)"
[ -r /etc/os-release ] && echo "system $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release)"
show online /sys/devices/system/cpu/online
for c in /sys/devices/system/cpu/cpu[0-9]*; do
    show "capacity ${c##*cpu}" $c/cpu_capacity
done
for p in /sys/devices/system/cpu/cpufreq/policy*; do
    [ -r $p/related_cpus ] || continue
    khz=0 governor=unknown
    [ -r $p/cpuinfo_max_freq ] && read -r khz <$p/cpuinfo_max_freq
    [ -r $p/scaling_governor ] && read -r governor <$p/scaling_governor
    show "policy $khz $governor" $p/related_cpus
done
grep -E '^(CPU part|model name)' /proc/cpuinfo 2>/dev/null
grep -m 1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null
command -v taskset >/dev/null && echo "taskset yes"
true
"""

_STATE = r"""
if command -v dumpsys >/dev/null; then
    dumpsys thermalservice 2>/dev/null | grep -m 1 'Thermal Status'
    dumpsys battery 2>/dev/null | grep -E '^ *(level|temperature|AC powered|USB powered):'
fi
for z in /sys/class/thermal/thermal_zone*; do
    [ -r $z/temp ] && read -r v 2>/dev/null <$z/temp && echo "zone $v"
done
for p in /sys/devices/system/cpu/cpufreq/policy*; do
    [ -r $p/scaling_cur_freq ] && read -r v <$p/scaling_cur_freq && echo "clock ${p##*policy} $v"
done
true
"""

THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Cores that share clock and design. `capacity` is the kernel's relative figure, 0 where it gives none."""

    cores: tuple[int, ...]
    capacity: int
    max_khz: int
    governor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """What a machine is. `emulated` tells whether any time measured on it would be the emulator's."""

    name: str
    model: str
    soc: str
    cpu: str
    system: str
    fingerprint: str
    machine: str
    clusters: tuple[Cluster, ...]
    is_android: bool
    emulated: bool
    has_taskset: bool

    def as_dict(self) -> dict:
        """Return it as plain values, for a record."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What changes while a machine works; None for what it does not tell."""

    thermal_status: str | None
    battery_percent: int | None
    battery_c: float | None
    is_charging: bool | None
    hottest_c: float | None
    clocks_khz: dict[str, int]

    def as_dict(self) -> dict:
        """Return it as plain values, for a record."""
        return asdict(self)


def probe(machine: Machine) -> DeviceInfo:
    """Ask a machine what it is."""
    _, said = machine.run(_PROBE)
    return parse_info(machine.name, said)


def read_state(machine: Machine) -> State:
    """Ask a machine for temperatures, battery and clocks."""
    _, said = machine.run(_STATE)
    return parse_state(said)


def parse_info(name: str, text: str) -> DeviceInfo:
    """Make sense of the probe's lines."""
    props = dict(re.findall(r"^prop (\S+) (\S.*)$", text, re.M))
    model = " ".join(filter(None, [props.get("ro.product.manufacturer"), props.get("ro.product.model")]))
    soc = " ".join(filter(None, [props.get("ro.soc.manufacturer"), props.get("ro.soc.model")]))
    release = props.get("ro.build.version.release")
    kernel = _one(r"^kernel (.+)$", text)
    system = f"Android {release}" if release else _one(r"^system (.+)$", text).strip('"') or f"Linux {kernel}"
    return DeviceInfo(
        name=name,
        model=model or _one(r"^board (.+)$", text) or _one(r"^model name\s*: (.+)$", text) or "unknown",
        soc=soc or props.get("ro.board.platform") or props.get("ro.hardware") or arm_parts(text) or "unknown",
        cpu=describe_cpu(text),
        system=system,
        fingerprint=props.get("ro.build.fingerprint") or kernel,
        machine=_one(r"^machine (.+)$", text),
        clusters=parse_clusters(text),
        is_android=release is not None,
        emulated="1" in (props.get("ro.kernel.qemu"), props.get("ro.boot.qemu"))
        or "qemu" in _one(r"^parent (.*)$", text),
        has_taskset=bool(re.search(r"^taskset yes$", text, re.M)),
    )


def parse_clusters(text: str) -> tuple[Cluster, ...]:
    """Group the cores into clusters, slowest first.

    cpufreq's policies are the clusters where there are any; else cores of one capacity; else all cores online are one.
    """
    capacity = {int(core): int(value) for core, value in re.findall(r"^capacity (\d+) (\d+)$", text, re.M)}
    clusters = []
    for khz, governor, cores in re.findall(r"^policy (\d+) (\S+) ([\d ]+)$", text, re.M):
        members = tuple(int(core) for core in cores.split())
        known = [capacity[core] for core in members if core in capacity]
        clusters.append(Cluster(cores=members, capacity=max(known, default=0), max_khz=int(khz), governor=governor))
    if not clusters:
        for value in sorted(set(capacity.values())):
            members = tuple(sorted(core for core, own in capacity.items() if own == value))
            clusters.append(Cluster(cores=members, capacity=value, max_khz=0, governor="unknown"))
    if not clusters and (online := expand_range(_one(r"^online (.+)$", text))):
        clusters.append(Cluster(cores=online, capacity=0, max_khz=0, governor="unknown"))
    merged: dict[tuple[int, int, str], Cluster] = {}
    for cluster in clusters:  # x86 and some servers have a policy for each core
        key = (cluster.capacity, cluster.max_khz, cluster.governor)
        cores = (merged[key].cores if key in merged else ()) + cluster.cores
        merged[key] = Cluster(cores=tuple(sorted(cores)), capacity=key[0], max_khz=key[1], governor=key[2])
    return tuple(sorted(merged.values(), key=lambda c: (c.capacity, c.max_khz)))


def expand_range(text: str) -> tuple[int, ...]:
    """Turn the kernel's "0-3,6" into core numbers."""
    cores: list[int] = []
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        cores.extend(range(int(first), int(last or first) + 1))
    return tuple(cores)


def core_mask(choice: str, info: DeviceInfo) -> int | None:
    """Return taskset's mask for `--cores`: all, big, little, or a hexadecimal mask; None for no pinning.

    Raises:
        ValueError: If the choice is none of these, or the machine has no such cluster.
    """
    if choice not in ("big", "little"):
        return given_mask(choice)
    if not info.clusters:
        raise MachineError("device error", f"{info.name} tells no core clusters; give --cores as a mask")
    cluster = info.clusters[-1 if choice == "big" else 0]
    return sum(1 << core for core in cluster.cores)


def given_mask(choice: str) -> int | None:
    """Return the mask that `--cores` gives outright; None for all, big and little.

    Raises:
        ValueError: If it is none of these.
    """
    if choice in ("all", "big", "little"):
        return None
    try:
        mask = int(choice, 16)
    except ValueError as e:
        raise ValueError(f"--cores is {choice!r}; choose all, big, little, or a hexadecimal mask such as f0") from e
    if mask <= 0:
        raise ValueError("--cores 0 leaves no core to run on")
    return mask


def parse_state(text: str) -> State:
    """Make sense of the state's lines. Battery temperature comes in tenths of a degree, zones in thousandths."""
    status = _one(r"Thermal Status: (\d+)", text)
    level, tenths = _one(r"^ *level: (\d+)", text), _one(r"^ *temperature: (\d+)", text)
    powered = re.findall(r"^ *(?:AC|USB) powered: (true|false)", text, re.M)
    zones = [int(value) / 1000 for value in re.findall(r"^zone (-?\d+)", text, re.M)]
    plausible = [value for value in zones if 0 < value < 150]
    return State(
        thermal_status=THERMAL_STATUS[min(int(status), 6)] if status else None,
        battery_percent=int(level) if level else None,
        battery_c=int(tenths) / 10 if tenths else None,
        is_charging="true" in powered if powered else None,
        hottest_c=max(plausible, default=None),
        clocks_khz={policy: int(khz) for policy, khz in re.findall(r"^clock (\d+) (\d+)$", text, re.M)},
    )


def _one(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.M)
    return found.group(1).strip() if found else ""
