import pytest

from edge_vit.devices import device_info
from edge_vit.devices.device_info import Cluster
from edge_vit.devices.local import LocalMachine
from edge_vit.devices.machine import MachineError

# The probe's lines as a phone with three clusters gives them (values from a Pixel 7's public specifications).
PHONE = """\
prop ro.product.manufacturer Google
prop ro.product.model Pixel 7
prop ro.soc.manufacturer Google
prop ro.soc.model Tensor G2
prop ro.hardware panther
prop ro.build.version.release 14
prop ro.build.version.sdk 34
prop ro.build.fingerprint google/panther/panther:14/AP1A/1:user/release-keys
machine aarch64
kernel 5.10.157-android13
parent - -
online 0-7
capacity 0 160
capacity 1 160
capacity 2 160
capacity 3 160
capacity 4 498
capacity 5 498
capacity 6 1024
capacity 7 1024
policy 1803000 sched_pixel 0 1 2 3
policy 2348000 sched_pixel 4 5
policy 2850000 sched_pixel 6 7
CPU part	: 0xd05
Features	: fp asimd evtstrm asimddp
taskset yes
"""

STATE = """\
Thermal Status: 2
  AC powered: false
  USB powered: true
  level: 83
  temperature: 312
zone 41250 BIG
zone -40000 broken
zone 38000 skin
clock 0 1803000
clock 6 984000
"""


def test_reads_a_phone() -> None:
    info = device_info.parse_info("R5C", PHONE)
    assert (info.model, info.soc, info.system) == ("Google Pixel 7", "Google Tensor G2", "Android 14")
    assert info.is_android and info.has_taskset and not info.emulated
    assert info.fingerprint.startswith("google/panther")
    assert info.cpu == "ARM part 0xd05 (dot product, no i8mm)"
    assert info.clusters == (
        Cluster(cores=(0, 1, 2, 3), capacity=160, max_khz=1803000, governor="sched_pixel"),
        Cluster(cores=(4, 5), capacity=498, max_khz=2348000, governor="sched_pixel"),
        Cluster(cores=(6, 7), capacity=1024, max_khz=2850000, governor="sched_pixel"),
    )


@pytest.mark.parametrize(("choice", "mask"), [("all", None), ("big", 0xC0), ("little", 0x0F), ("f0", 0xF0), ("0x3", 3)])
def test_chooses_cores(choice: str, mask: int | None) -> None:
    assert device_info.core_mask(choice, device_info.parse_info("R5C", PHONE)) == mask


def test_refuses_cores_that_are_none() -> None:
    info = device_info.parse_info("R5C", PHONE)
    with pytest.raises(
        ValueError, match="--cores is 'fast'; choose all, big, little, or a hexadecimal mask such as f0"
    ):
        device_info.core_mask("fast", info)
    with pytest.raises(ValueError, match="leaves no core"):
        device_info.core_mask("0", info)
    with pytest.raises(MachineError, match="X tells no core clusters; give --cores as a mask"):
        device_info.core_mask("big", device_info.parse_info("X", "machine aarch64\n"))


def test_clusters_without_cpufreq_come_from_capacity() -> None:
    text = "online 0-3\ncapacity 0 1024\ncapacity 1 400\ncapacity 2 400\ncapacity 3 1024\n"
    assert [c.cores for c in device_info.parse_clusters(text)] == [(1, 2), (0, 3)]


def test_one_policy_a_core_is_one_cluster() -> None:
    text = "".join(f"policy 3000000 performance {core}\n" for core in range(4))
    assert device_info.parse_clusters(text) == (
        Cluster(cores=(0, 1, 2, 3), capacity=0, max_khz=3000000, governor="performance"),
    )


def test_without_anything_all_online_cores_are_one() -> None:
    assert [c.cores for c in device_info.parse_clusters("online 0-1,4\n")] == [(0, 1, 4)]


@pytest.mark.parametrize(
    "line",
    ["prop ro.kernel.qemu 1", "prop ro.boot.qemu 1", "parent /usr/bin/qemu-aarch64 ", "parent  /opt/qemu-aarch64"],
)
def test_an_emulated_machine_is_recognised(line: str) -> None:
    assert device_info.parse_info("E", PHONE.replace("parent - -", line)).emulated


def test_reads_a_raspberry_pi() -> None:
    text = "machine aarch64\nkernel 6.6.20\nboard Raspberry Pi 5 Model B\nparent /sbin/init \n"
    text += 'system "Debian GNU/Linux 12 (bookworm)"\n'
    info = device_info.parse_info("local", text + "model name\t: Cortex-A76\nCPU part\t: 0xd0b\n")
    assert (info.model, info.system, info.soc) == (
        "Raspberry Pi 5 Model B", "Debian GNU/Linux 12 (bookworm)", "ARM part 0xd0b",
    )  # fmt: skip
    assert not info.is_android and not info.emulated and not info.has_taskset


def test_reads_the_state() -> None:
    state = device_info.parse_state(STATE)
    assert (state.thermal_status, state.battery_percent, state.battery_c) == ("moderate", 83, 31.2)
    assert state.is_charging is True and state.hottest_c == 41.25
    assert state.clocks_khz == {"0": 1803000, "6": 984000}


def test_a_machine_that_tells_nothing_is_no_error() -> None:
    state = device_info.parse_state("")
    assert (state.thermal_status, state.battery_percent, state.is_charging, state.hottest_c) == (None, None, None, None)
    info = device_info.parse_info("X", "")
    assert (info.model, info.soc, info.clusters) == ("unknown", "unknown", ())


def test_probes_this_machine() -> None:
    info = device_info.probe(LocalMachine())
    assert info.machine and info.clusters and info.system and not info.is_android
    assert device_info.read_state(LocalMachine()).clocks_khz is not None
