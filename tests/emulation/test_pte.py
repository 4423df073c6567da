"""Messages of the emulation of .pte files; that it computes the right thing is tested in tests/android."""

import importlib.metadata

import pytest

from edge_vit.emulation import pte as emulated_pte


@pytest.mark.parametrize(
    ("name", "cpu", "message"),
    [
        (
            "m.pte",
            "cortex-x9",
            "unknown core 'cortex-x9'; choose from armv8.6-i8mm, cortex-a53, cortex-a72, cortex-a76",
        ),
        ("gone.pte", "cortex-a76", "no model"),
    ],
)
def test_what_cannot_be_run_is_named(name, cpu, message, tmp_path):
    (tmp_path / "m.pte").write_bytes(b"pte")
    with pytest.raises(ValueError, match=message):
        emulated_pte.run(tmp_path / name, b"", cpu)


def test_missing_executorch_is_named(monkeypatch, tmp_path):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ValueError, match=r"needs ExecuTorch; pip install 'edge_vit\[executorch\]'"):
        emulated_pte.prepare(tmp_path)


@pytest.mark.slow
@pytest.mark.needs_executorch
def test_a_damaged_file_is_told(tmp_path):
    pytest.importorskip("executorch")
    (tmp_path / "m.pte").write_bytes(bytes(1000))
    with pytest.raises(
        ValueError, match=r"m\.pte failed under emulation of cortex-a76 \(exit code 6\).*cannot load the program"
    ):
        emulated_pte.run(tmp_path / "m.pte", b"")
