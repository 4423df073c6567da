"""Qualcomm's simulator behind a pipe: what it tells and gives arrives, and what goes wrong is one line."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from converters import artefact
from converters.onnx.hexagon import RECIPE, Placement, Simulator

WORKER = """
import io, json, sys
import numpy as np
def answer(kind, content):
    sys.stdout.buffer.write(kind + len(content).to_bytes(8, "little") + content)
    sys.stdout.buffer.flush()
if "refused" in sys.argv[1]:
    answer(b"E", b"no kernel for Loop\\nand more")
    sys.exit()
told = {"partitions": 1, "on_npu": {"Conv": 3}, "on_cpu": ["DequantizeLinear last"], "seconds": 1.5}
answer(b"J", json.dumps(told).encode())
while len(length := sys.stdin.buffer.read(8)) == 8:
    array = np.load(io.BytesIO(sys.stdin.buffer.read(int.from_bytes(length, "little"))))
    if array.max() == 255:
        sys.exit()
    out = io.BytesIO()
    np.save(out, array.astype(np.float32) * 2)
    answer(b"A", out.getvalue())
"""


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """A python that has the simulator, as far as one can tell from outside."""
    (tmp_path / "worker.py").write_text(WORKER)
    python = tmp_path / "python"
    told = f'{{"onnxruntime-qnn": "{RECIPE.version}"}}'
    python.write_text(
        f"""#!/bin/sh
case "$2" in
-c) echo 'a library says hello'; echo '{told}';;
*) exec {sys.executable} {tmp_path}/worker.py "$3";;
esac
"""
    )
    python.chmod(0o755)
    monkeypatch.setenv(RECIPE.setting, str(python))


@pytest.mark.usefixtures("pretended")
def test_placement_and_outputs_arrive():
    simulator = Simulator(Path("some.onnx"))
    assert simulator.placement == Placement(
        partitions=1, on_npu={"Conv": 3}, on_cpu=("DequantizeLinear last",), seconds=1.5
    )
    for value in (1, 7):  # several inputs, one compilation
        given = simulator(np.full((1, 2, 2, 3), value, np.uint8))
        np.testing.assert_array_equal(given, np.full((1, 2, 2, 3), 2.0 * value, np.float32))
    simulator.close()


@pytest.mark.usefixtures("pretended")
def test_a_file_that_is_refused_and_a_simulator_that_dies_are_one_line():
    with pytest.raises(ValueError, match=r"^refused\.onnx: .* does not run it \(no kernel for Loop\)$"):
        Simulator(Path("refused.onnx"))
    simulator = Simulator(Path("some.onnx"))
    with pytest.raises(ValueError, match=r"does not run it \(the simulator ended\)"):
        simulator(np.full((1, 1), 255, np.uint8))


def test_what_another_runtime_does_not_take_is_refused():
    artefact.check_runtime("", Path("a.tflite"))
    artefact.check_runtime("hexagon", Path("a.onnx"))
    with pytest.raises(ValueError, match=r"a\.tflite: hexagon runs \.onnx files; convert with --target onnx"):
        artefact.check_runtime("hexagon", Path("a.tflite"))
    with pytest.raises(ValueError, match="unknown runtime 'hex'; choose from hexagon, or leave it out"):
        artefact.check_runtime("hex", Path("a.onnx"))


@pytest.mark.slow
def test_an_npu_file_is_one_partition_and_gives_what_onnx_runtime_gives(tmp_path):
    from edge_vit import api
    from edge_vit.deployment.request import ConvertConfig
    from edge_vit.evaluation.simulation import SimulationRequest, simulate

    if not (os.environ.get(RECIPE.setting) or RECIPE.folder.exists()):
        pytest.skip(f"{RECIPE.folder} is not there; `bench_arm --simulate hexagon` makes it")
    made = api.export(
        ConvertConfig(model="efficientvit_m0", target="onnx", precision="int8", processor="npu", output_dir=tmp_path)
    )
    (record,) = simulate(SimulationRequest(models=(made.results[0].artefact,), simulator="hexagon")).records
    assert record["partitions"] == 1 and [name.split()[0] for name in record["on_cpu"]] == ["DequantizeLinear"]
    assert record["same_as_onnx_runtime"] == 1.0 and record["db_to_onnx_runtime"] > 25
