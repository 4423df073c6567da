"""Emulated devices and toolchains, for the tests of devices and of emulation (a plugin that conftest.py names)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from converters.cache import cache_folder
from edge_vit.emulation import tflite as emulation
from edge_vit.emulation import virtual_device

DATA = Path(__file__).parent / "devices" / "data"
# Where these tests must run (continuous integration), a skip would be a hole that nobody sees.
REQUIRE = "EDGE_VIT_REQUIRE_EMULATION"


def unavailable(reason: str) -> None:
    """Skip, or fail where emulation is required."""
    if os.environ.get(REQUIRE):
        pytest.fail(f"{REQUIRE} is set, and emulation is not available: {reason}")
    pytest.skip(f"emulation is not available: {reason}")


@pytest.fixture(scope="session")
def tiny_int8() -> Path:
    return DATA / "tiny_int8.tflite"


@pytest.fixture(scope="session")
def tiny_fp32() -> Path:
    return DATA / "tiny_fp32.tflite"


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    return cache_folder()


@pytest.fixture(scope="session")
def toolchain(cache_dir: Path) -> emulation.Toolchain:
    try:
        return emulation.prepare(cache_dir)
    except ValueError as e:
        unavailable(str(e))
        raise


@pytest.fixture(scope="session")
def devices(toolchain: emulation.Toolchain) -> Iterator[virtual_device.VirtualDevices]:
    """Two emulated devices. A test that kills one starts it again."""
    if reason := virtual_device.unsupported_reason():
        unavailable(reason)
    try:
        made = virtual_device.VirtualDevices(2)
    except ValueError as e:
        unavailable(str(e))
        raise
    with made:
        yield made
