"""Counts of .pte files on emulated cores, and messages. What levit_128s computes there is tested in tests/android."""

import importlib.metadata

import numpy as np
import pytest
from emulated_devices import unavailable

from edge_vit.devices import host_run
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


@pytest.fixture(scope="module")
def toolchain():
    pytest.importorskip("executorch")
    try:
        return emulated_pte.prepare()
    except ValueError as e:
        unavailable(str(e))


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    """A file of one delegate and one operator outside of it."""
    torch = pytest.importorskip("torch")
    from converters.executorch.lower import ExecuTorchOptions, convert

    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 16, 3, 2, 1)
            self.linear = torch.nn.Linear(16, 8)

        def forward(self, x):
            tokens = self.linear(torch.nn.functional.hardswish(self.conv(x)).flatten(2).transpose(1, 2))
            mixed = torch.bmm(tokens, tokens.transpose(1, 2)).softmax(-1)
            return torch.cumsum(torch.bmm(mixed, tokens).flatten(1), 1)

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pte") / "attention.pte"
    convert(Attention().eval(), (torch.randn(1, 3, 32, 32),), path, options=ExecuTorchOptions())
    return path


@pytest.mark.needs_executorch
def test_operators_add_up_to_the_whole(toolchain, attention):
    first, again = (emulated_pte.emulate(attention, with_profile=True, toolchain=toolchain) for _ in range(2))
    assert first.instructions == again.instructions and first.profile == again.profile
    kinds = [o.kind for o in first.profile.operators]
    assert kinds.count("BATCH_MATMUL") == 2 and kinds[-1] == "cumsum"
    assert {"CONV_2D", "FULLY_CONNECTED", "HARD_SWISH", "SOFTMAX", "TRANSPOSE"} <= set(kinds)
    assert 0 < first.profile.overhead < 0.05 * first.instructions
    softmax = next(o for o in first.profile.operators if o.kind == "SOFTMAX")
    assert 256 * 256 < softmax.instructions < 20 * 256 * 256  # 256 tokens with 256


@pytest.mark.needs_executorch
@pytest.mark.parametrize("cpu", ["cortex-a53", "armv8.6-i8mm"])
def test_output_is_close_to_this_machines(toolchain, attention, cpu):
    inputs = host_run.seeded_inputs(host_run.model_inputs(attention))
    given = emulated_pte.run(attention, inputs[0], cpu, toolchain=toolchain)
    outputs = [np.frombuffer(data, np.float32) for data in (given, host_run.reference_output(attention, inputs))]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.needs_executorch
def test_every_inference_reads_the_same_input(toolchain, tmp_path):
    """Operators outside a delegate write to the memory of an input that was read."""
    torch = pytest.importorskip("torch")
    from executorch.exir import to_edge_transform_and_lower

    class Chain(torch.nn.Module):
        def forward(self, x):
            return (x.cumsum(1).exp() + 1.0).cumsum(1)

    x = torch.linspace(-0.1, 0.1, 64).reshape(1, 64)
    path = tmp_path / "chain.pte"
    path.write_bytes(to_edge_transform_and_lower(torch.export.export(Chain(), (x,))).to_executorch().buffer)
    result = emulated_pte.emulate(path, inputs=[x.numpy().tobytes()], runs=3, toolchain=toolchain)
    np.testing.assert_allclose(np.frombuffer(result.output, np.float32), Chain()(x).numpy().ravel(), rtol=1e-5)
