from pathlib import Path

import numpy as np
import pytest
from small_tflite import T, build

from converters.tflite.reader import Tensor, read_model
from edge_vit.devices import host_run
from edge_vit.emulation import report as emulation_report
from edge_vit.emulation import tflite as emulation
from edge_vit.emulation.cores import CPUS


def test_counts_are_the_same_twice(toolchain: emulation.Toolchain, tiny_int8: Path) -> None:
    first, second = (emulation.emulate(tiny_int8, toolchain=toolchain) for _ in range(2))
    assert first.instructions == pytest.approx(second.instructions, rel=1e-4)
    assert max(first.per_inference) - min(first.per_inference) < 1e-4 * first.instructions
    assert 300_000 < first.instructions < 2_000_000


def test_cores_without_a_dot_product_cost_more_than_cores_with_one(
    toolchain: emulation.Toolchain, tiny_int8: Path
) -> None:
    """Each core is what it says: XNNPACK takes other kernels on it, and the count repeats to the instruction."""
    counts = {}
    for cpu in CPUS:
        once, again = (emulation.emulate(tiny_int8, cpu, runs=1, toolchain=toolchain).instructions for _ in range(2))
        assert once == again
        counts[cpu] = once
    assert len(set(counts.values())) == len(counts)
    assert max(counts["cortex-a76"], counts["armv8.6-i8mm"]) < 0.9 * min(counts["cortex-a53"], counts["cortex-a72"])


@pytest.mark.needs_tflite
@pytest.mark.parametrize("cpu", CPUS)
def test_int8_output_is_byte_equal_to_this_machines(toolchain: emulation.Toolchain, tiny_int8: Path, cpu: str) -> None:
    inputs = host_run.seeded_inputs(read_model(tiny_int8).input_tensors)
    output = emulation.emulate(tiny_int8, cpu, inputs=inputs, toolchain=toolchain).output
    assert len(output) == 10 and len(set(output)) > 1
    assert output == host_run.reference_output(tiny_int8, inputs)
    other = host_run.seeded_inputs(read_model(tiny_int8).input_tensors, seed=1)
    assert emulation.emulate(tiny_int8, cpu, inputs=other, toolchain=toolchain).output != output


@pytest.mark.needs_tflite
def test_float_output_is_close_to_this_machines(toolchain: emulation.Toolchain, tiny_fp32: Path) -> None:
    inputs = host_run.seeded_inputs(read_model(tiny_fp32).input_tensors)
    outputs = [emulation.emulate(tiny_fp32, inputs=inputs, toolchain=toolchain).output]
    outputs.append(host_run.reference_output(tiny_fp32, inputs))
    np.testing.assert_allclose(*(np.frombuffer(o, np.float32) for o in outputs), rtol=1e-4, atol=1e-6)


@pytest.mark.needs_tflite
def test_float16_costs_less_than_float32_where_the_core_can(toolchain: emulation.Toolchain, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    model = tmp_path / "m.tflite"
    tensors = {"x": T((64, 256)), "w": weights, "y": T((64, 256))}
    model.write_bytes(build(tensors, [("FULLY_CONNECTED", ["x", "w"], ["y"], None)]))
    full, half = (emulation.emulate(model, in_half=h, runs=1, toolchain=toolchain) for h in (False, True))
    assert half.instructions < 0.6 * full.instructions
    wanted, given = (np.frombuffer(e.output, np.float32) for e in (full, half))
    assert 0 < np.abs(given - wanted).max() < 0.02 * np.abs(wanted).max()
    with pytest.raises(ValueError, match="cortex-a53 does not compute in float16"):
        emulation.emulate(model, "cortex-a53", in_half=True, toolchain=toolchain)


def test_operators_add_up_to_the_whole(toolchain: emulation.Toolchain, tiny_fp32: Path, tiny_int8: Path) -> None:
    for path in (tiny_fp32, tiny_int8):
        profile = emulation.by_operator(path, toolchain=toolchain)
        total = emulation.count_instructions(path, toolchain=toolchain)
        assert profile.total == pytest.approx(total, rel=1e-4)
        assert 0 < profile.overhead < 0.05 * total
        kinds = {o.kind for o in profile.operators}
        assert {"CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX", "BATCH_MATMUL", "TRANSPOSE"} <= kinds
    # What the delegate does not take is LiteRT's own kernel, and costs: int8 softmax, an asymmetric int8 product.
    builtin = {o.kind for o in profile.operators if o.kernel == "builtin"}
    assert {"SOFTMAX", "BATCH_MATMUL"} <= builtin


def test_report_never_speaks_of_time(
    toolchain: emulation.Toolchain, cache_dir: Path, tiny_fp32: Path, tiny_int8: Path, tmp_path: Path
) -> None:
    records = emulation_report.measure(
        [tiny_fp32, tiny_int8],
        ["cortex-a76"],
        with_operators=True,
        runs=1,
        cache_dir=cache_dir,
        progress=lambda _: None,
    )
    assert all(r["emulated"] and not any(key.endswith(("_ms", "_us")) for key in r) for r in records)
    assert records[0]["against_first"] == 1 and records[1]["against_first"] > 1
    for _ in range(2):
        emulation_report.append(tmp_path, records)
    text = emulation_report.table(records) + (tmp_path / "instructions.md").read_text()
    assert " ms" not in text and "Emulated:" in text and "BATCH_MATMUL" in text
    assert (tmp_path / "instructions.md").read_text().count("tiny_int8.tflite") == 2


def test_refuses_what_it_cannot_run(toolchain: emulation.Toolchain, tmp_path: Path, tiny_int8: Path) -> None:
    with pytest.raises(
        ValueError, match=r"unknown core 'cortex-x9'; choose from armv8\.6-i8mm, cortex-a53, cortex-a72, "
    ):
        emulation.emulate(tiny_int8, "cortex-x9", toolchain=toolchain)
    with pytest.raises(ValueError, match="no model /no/such"):
        emulation.emulate(Path("/no/such"), toolchain=toolchain)
    with pytest.raises(ValueError, match="runs is 0"):
        emulation.emulate(tiny_int8, runs=0, toolchain=toolchain)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(tiny_int8.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"damaged\.tflite failed under emulation of cortex-a76 \(exit code -?\d+\): "):
        emulation.emulate(damaged, inputs=[bytes(3072)], toolchain=toolchain)
    with pytest.raises(ValueError, match="the model's input 0 takes 3072 bytes, the file has fewer"):
        emulation.emulate(tiny_int8, inputs=[bytes(100)], toolchain=toolchain)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dpkg = tmp_path / "dpkg"
    dpkg.write_text("#!/bin/sh\necho amd64\n")
    dpkg.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    with pytest.raises(
        ValueError, match=r"needs the Debian packages qemu-user, and apt-get and dpkg-deb to fetch them"
    ):
        emulation.prepare(tmp_path / "cache")


def test_seeded_inputs_are_the_same_everywhere_and_span_their_type() -> None:
    tensors = [
        Tensor(name="image", dtype="uint8", shape=(1, 64, 64, 3)),
        Tensor(name="x", dtype="float32", shape=(-1, 1000)),
        Tensor(name="flag", dtype="bool", shape=(64,)),
        Tensor(name="index", dtype="int32", shape=(8,)),
    ]
    image, x, flag, index = host_run.seeded_inputs(tensors)
    assert (min(image), max(image)) == (0, 255) and len(image) == 64 * 64 * 3
    assert abs(np.frombuffer(x, np.float32).mean()) < 0.2 and len(x) == 4000
    assert set(flag) == {0, 1} and len(index) == 32
    assert host_run.seeded_inputs(tensors) == [image, x, flag, index]
    with pytest.raises(ValueError, match="input odd is of type 13, for which no test values can be made"):
        host_run.seeded_inputs([Tensor(name="odd", dtype="type 13", shape=(1,))])
