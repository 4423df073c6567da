"""Small boards have tflite_runtime in place of ai_edge_litert; the same interface under an older name."""

import subprocess
import sys

import pytest

# tflite_runtime was built for numpy 1 and cannot be installed here: LiteRT's interpreter stands under its name, in a
# fresh process where its own name is gone.
_PROGRAM = """
import sys, types
import ai_edge_litert.interpreter as real
old = types.ModuleType("tflite_runtime")
old.interpreter = types.ModuleType("tflite_runtime.interpreter")
if len(sys.argv) == 2:
    old.interpreter.Interpreter = real.Interpreter
sys.modules |= {"tflite_runtime": old, "tflite_runtime.interpreter": old.interpreter}
for name in [n for n in sys.modules if n.split(".")[0] == "ai_edge_litert"]:
    sys.modules[name] = None
from pathlib import Path
import numpy as np
from converters.tflite.run import load
try:
    print(load(Path(sys.argv[1]), 1)(np.array([[3.0, -2.0]], np.float32)).tolist())
except ImportError as e:
    print(e)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs edge_vit[tflite]")
    import flatbuffers

    model, graph, code, op = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    code.version, op.opcodeIndex, op.inputs, op.outputs = 1, 0, [0], [1]
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    for name, tensor in zip((b"x", b"y"), graph.tensors, strict=True):
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 2], schema.TensorType.FLOAT32, 0
    graph.inputs, graph.outputs, graph.operators = [0], [1], [op]
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [code], [graph]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path = tmp_path_factory.mktemp("model") / "relu.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.mark.needs_tflite
def test_older_runtime_is_taken_where_litert_is_absent(model):
    command = [sys.executable, "-c", _PROGRAM, str(model)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[[3.0, 0.0]]\n"


@pytest.mark.needs_tflite
def test_neither_runtime_names_the_extra(model):
    command = [sys.executable, "-c", _PROGRAM, str(model), "without"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "running .tflite files needs LiteRT; pip install 'edge_vit[tflite]'\n"
