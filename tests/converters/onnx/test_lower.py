"""Files for ONNX Runtime: what it runs in int8, what the file says of itself, and what is refused."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import is_state, state
from torch import Tensor, nn

from converters.card import ModelCard
from converters.grids import compare_operators, read_operators
from converters.onnx import run as run_onnx
from converters.onnx.lower import OnnxOptions, convert
from converters.passes.grids import read as read_graph

pytestmark = pytest.mark.needs_onnx
CARD = ModelCard(
    name="small", description="a small one", version="abc", author="me", license="MIT", labels=tuple("abcde")
)
FACTS = {"mean": (0.485, 0.456, 0.406), "resize": 256, "normalization": "inside"}


@pytest.fixture(scope="module")
def written(_small_models, tmp_path_factory):
    """Each precision of one network, converted once: result, file, and the model that it was made from."""
    folder = tmp_path_factory.mktemp("onnx")
    example = (torch.zeros(1, 16, 16, 3),)
    found = {}
    for precision in ("fp32", "fp16", "int8"):
        model, path = _small_models[precision == "int8"], folder / f"small_{precision}.onnx"
        before = state(model)
        options = OnnxOptions(half_precision=precision == "fp16", card=CARD, facts=FACTS)
        found[precision] = convert(model, example, path, options=options), path, model
        assert is_state(model, before)
    assert len(list(folder.iterdir())) == 3
    return found


@pytest.mark.parametrize(("precision", "db"), [("fp32", 120.0), ("fp16", 60.0), ("int8", 60.0)])
def test_onnx_runtime_gives_what_torch_gives(precision, db, written, small_pictures, torch_logits, sqnr_db):
    result, path, model = written[precision]
    assert (result.target, result.precision, result.input_shape) == ("onnx", precision, (1, 16, 16, 3))
    assert set(result.tool_versions) == {"torch", "onnx", "onnxscript", "onnxruntime"}
    call = run_onnx.load(path, 1)
    outputs = np.concatenate([call(picture[None]) for picture in small_pictures])
    assert outputs.dtype == np.float32
    assert sqnr_db(torch_logits(model, small_pictures), outputs) > db


def test_half_precision_is_smaller(written):
    assert written["fp16"][0].num_bytes < 0.8 * written["fp32"][0].num_bytes
    counts = written["fp16"][0].details["operators"].counts
    assert counts["Conv"] == {"fp16": 2} and counts["Gemm"] == {"fp16": 5} and counts["Softmax"] == {"float32": 1}


def test_every_int8_operator_is_the_graphs(written):
    result, path, model = written["int8"]
    found = compare_operators(read_graph(model), read_operators(path))
    assert found.is_equal and found.shared == 19
    operators = result.details["operators"]
    assert operators.counts["Conv"] == operators.counts["MatMul"] == {"int8": 2}
    assert operators.counts["Gemm"] == {"int8": 5} and operators.counts["Softmax"] == {"float32": 1}
    assert operators.float_islands == ("Add node_add_1", "Softmax node_softmax")
    assert result.details["slow_path"] == () and result.delegated_nodes == result.total_nodes


def test_a_changed_scale_is_noticed(written, tmp_path):
    import onnx

    _, path, model = written["int8"]
    changed = onnx.load(path)
    first = next(node for node in changed.graph.node if node.op_type == "Gemm")
    weights = next(node for node in changed.graph.node if first.input[1] in node.output)
    scales = next(tensor for tensor in changed.graph.initializer if tensor.name == weights.input[1])
    scales.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scales) * np.float32(1.01), scales.name))
    onnx.save(changed, tmp_path / "m.onnx")
    found = compare_operators(read_graph(model), read_operators(tmp_path / "m.onnx"))
    assert (found.shared, len(found.missing), len(found.extra)) == (18, 1, 1)


def test_onnx_runtime_keeps_the_integers(written, tmp_path):
    """What it makes of the file: every operator between quantize and dequantize became one on integers."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "o.onnx"), 4
    onnxruntime.InferenceSession(str(written["int8"][1]), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "o.onnx").graph.node)
    assert {k: n for k, n in kinds.items() if k.startswith("Q")} == {
        "QGemm": 5, "QLinearAdd": 4, "QLinearConcat": 3, "QLinearConv": 2, "QLinearMul": 2, "QLinearMatMul": 2,
        "QLinearGlobalAveragePool": 1, "QuantizeLinear": 1,
    }  # fmt: skip
    assert kinds["Add"] == kinds["Softmax"] == 1 and kinds["DequantizeLinear"] == 3  # the bias, its scores, the logits


def test_the_file_says_what_it_is(written):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(written["int8"][1]), providers=["CPUExecutionProvider"])
    said = dict(session.get_modelmeta().custom_metadata_map)
    assert {key: said[key] for key in ("model", "version", "author", "license", "normalization")} == {
        "model": "small", "version": "abc", "author": "me", "license": "MIT", "normalization": "inside",
    }  # fmt: skip
    values = {key: json.loads(said[key]) for key in ("classes", "mean", "resize", "outputs", "input_range")}
    assert values == {
        "classes": list("abcde"), "mean": [0.485, 0.456, 0.406], "resize": 256, "outputs": ["logits"],
        "input_range": [0.0, 255.0],
    }  # fmt: skip
    (source,), (output,) = session.get_inputs(), session.get_outputs()
    assert (source.name, source.type, source.shape) == ("pixels", "tensor(uint8)", [1, 16, 16, 3])
    assert (output.name, output.type, output.shape) == ("logits", "tensor(float)", [1, 5])


def test_the_file_is_for_many_runtimes_and_names_no_files_of_this_machine(written):
    import onnx

    for _, path, _ in written.values():
        model = onnx.load(path)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
        assert (model.ir_version, model.producer_name) == (8, "edge_vit")
        assert b".py" not in path.read_bytes()
        assert not any(node.metadata_props for node in model.graph.node)


def test_a_quantized_graph_has_no_half_precision(small_qdq, small_example, tmp_path):
    with pytest.raises(ValueError, match="half_precision is for float graphs"):
        convert(small_qdq, small_example, tmp_path / "x.onnx", options=OnnxOptions(half_precision=True))


def test_a_file_that_computes_something_else_is_refused(small_model, small_example, tmp_path, monkeypatch):
    from converters.onnx import lower

    monkeypatch.setattr(lower, "load_all", lambda path, threads: lambda array: (np.ones((1, 5), np.float32),))
    with pytest.raises(RuntimeError, match=r"the \.onnx does not compute its graph: .* dB, expected 60 or more"):
        convert(small_model, small_example, tmp_path / "m.onnx", options=OnnxOptions())
    assert not any(tmp_path.iterdir())


class Sub(nn.Module):
    """An int8 operator that ONNX Runtime has no kernel for."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        return (self.first(x) - self.second(x)).mean((2, 3))


def test_what_onnx_runtime_computes_in_float_is_named(tmp_path: Path):
    from lowered import Lowered

    torch.manual_seed(0)
    written = Lowered.from_module(Sub().eval(), 8).int8().to("onnx", tmp_path).outside(1).same_integers()
    (slow,) = written.result.details["slow_path"]
    assert (slow.type, slow.reason) == ("Sub", "no int8 kernel in ONNX Runtime")
    written.runs().agrees(db=30)


class Tokens(nn.Module):
    """A network of any number of pictures: a frame, a convolution, tokens, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.mix(self.stem(x).flatten(2).transpose(1, 2)))
        return self.head(x.view(x.shape[0], 4, 4, 8).mean((1, 2)))


@pytest.mark.parametrize("is_int8", [pytest.param(False, marks=pytest.mark.slow), True])
def test_any_number_of_pictures_at_once(is_int8, tmp_path, sqnr_db):
    from lowered import smooth_pictures

    from edge_vit.layers.pixel_input import PixelInput
    from edge_vit.quantization.graph import export_graph
    from edge_vit.quantization.plan import make_plan
    from edge_vit.quantization.ptq import calibrate
    from edge_vit.quantization.quantizer import quantize_graph

    torch.manual_seed(0)
    model = PixelInput(Tokens(), 8, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    pictures, example = smooth_pictures(8, count=6), torch.zeros(2, 8, 8, 3)
    if is_int8:
        graph = export_graph(model, example, dynamic_batch=True)
        plan = make_plan(graph)
        model = quantize_graph(graph, plan, calibrate(graph, plan, [torch.from_numpy(pictures).float()]))
    result = convert(model, (example,), tmp_path / "m.onnx", options=OnnxOptions(is_free_batch=True))
    assert result.input_shape == (1, 8, 8, 3) and result.details["slow_path"] == ()
    call = run_onnx.load(result.path, 1)
    with torch.no_grad():
        expected = model(torch.from_numpy(pictures).float()).numpy()
    for count in (1, 2, 5, 6):
        outputs = call(pictures[:count])
        assert outputs.shape == (count, 4) and sqnr_db(expected[:count], outputs) > (60 if is_int8 else 100)
    if is_int8:
        found = compare_operators(read_graph(model), read_operators(result.path))
        assert found.is_equal and found.shared == 6


def test_the_runner_names_what_is_wrong(written, tmp_path, monkeypatch):
    whole = written["int8"][1].read_bytes()
    path = tmp_path / "bad.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"bad\.onnx: ONNX Runtime cannot load it \("):
        run_onnx.load(path, 1)
    with pytest.raises(ValueError, match=r"bad\.onnx: no ONNX model, or a damaged one \(.*\); convert again"):
        read_operators(path)
    with pytest.raises(ValueError, match="Got invalid dimensions for input: pixels"):
        run_onnx.load(written["int8"][1], 1)(np.zeros((1, 8, 8, 3), np.uint8))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"running \.onnx files needs ONNX Runtime; pip install 'edge_vit\[onnx\]'"):
        run_onnx.load(path, 1)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"reading \.onnx files needs onnx; pip install 'edge_vit\[onnx\]'"):
        read_operators(path)


def test_several_inputs_or_outputs_are_no_classifier(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    def save(inputs: int, outputs: int) -> Path:
        names = [f"i{i}" for i in range(inputs)], [f"o{i}" for i in range(outputs)]
        values = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in part] for part in names]
        nodes = [helper.make_node("Neg", [names[0][0]], [name]) for name in names[1]]
        model = helper.make_model(helper.make_graph(nodes, "g", *values), opset_imports=[helper.make_opsetid("", 18)])
        model.ir_version = 8
        onnx.save(model, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    with pytest.raises(ValueError, match="has 2 inputs and 1 outputs; a classifier has one of each"):
        run_onnx.load(save(2, 1), 1)
    with pytest.raises(ValueError, match="has 1 inputs and 2 outputs; a classifier has one of each"):
        run_onnx.load(save(1, 2), 1)
    assert len(run_onnx.load_all(save(1, 2), 1)(np.ones(1, np.float32))) == 2


def test_damaged_files_never_take_the_process_with_them(written, tmp_path):
    whole, seen = written["int8"][1].read_bytes(), Counter()
    generator = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(whole)
        for at in generator.integers(0, len(whole), 1):
            damaged[at] ^= 1 << int(generator.integers(8))
        (tmp_path / "d.onnx").write_bytes(damaged)
        try:
            run_onnx.load(tmp_path / "d.onnx", 1)
            seen["loaded"] += 1
        except ValueError:
            seen["refused"] += 1
    assert seen["refused"] > 0 and seen["loaded"] > 0
