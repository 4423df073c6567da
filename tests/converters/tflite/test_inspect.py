"""What the inspector says about real files, converted and quantized here, and about damaged ones."""

import pytest

from converters.tflite.inspect import inspect, readable_name

pytestmark = [
    pytest.mark.needs_tflite,
    # What litert-torch and ai-edge-quantizer do inside themselves.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors:UserWarning"),
]


def build_network():
    import torch
    from torch import nn

    class TinyAttention(nn.Module):
        """Convolutions, Hardswish and one attention: every pattern that the inspector tells apart."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish(), nn.Conv2d(8, 8, 1))
            self.q, self.k, self.fc = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            x = self.stem(x).flatten(2).transpose(1, 2)
            attention = torch.softmax(torch.bmm(self.q(x), self.k(x).transpose(1, 2)), -1)
            return self.fc(torch.bmm(attention, x).mean(1))

    torch.manual_seed(0)
    return TinyAttention().eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same network as float, all int8, int8 with float softmax and Hardswish, and with int8 weights only."""
    litert_torch = pytest.importorskip("litert_torch", reason="needs edge_vit[tflite]")
    import numpy as np
    import torch
    from ai_edge_quantizer import quantizer, recipe

    folder = tmp_path_factory.mktemp("inspect")
    float_path = folder / "float.tflite"
    litert_torch.convert(build_network(), (torch.zeros(1, 3, 16, 16),)).export(str(float_path))

    def quantized(name, recipe_list, calibrate=True):
        tool = quantizer.Quantizer(str(float_path))
        tool.load_quantization_recipe(recipe_list)
        rng = np.random.default_rng(0)
        pictures = [{"args_0": rng.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(4)]
        ranges = tool.calibrate({"serving_default": pictures}) if calibrate else None
        tool.quantize(ranges).export_model(str(folder / name))
        return folder / name

    def float_operators(*kinds):
        return [{"regex": ".*", "operation": kind, "algorithm_key": "no_quantize", "op_config": {}} for kind in kinds]

    everything = recipe.static_wi8_ai8()
    return {
        "float": float_path,
        "int8": quantized("int8.tflite", everything),
        "mixed": quantized("mixed.tflite", everything + float_operators("SOFTMAX", "HARD_SWISH")),
        "weights": quantized("weights.tflite", recipe.weight_only_wi8_afp32(), calibrate=False),
        "dynamic": quantized("dynamic.tflite", recipe.dynamic_wi8_afp32(), calibrate=False),
    }


def precisions(inspection):
    return {precision for by in inspection.counts.values() for precision in by}


def test_float_file_is_float(files):
    seen = inspect(files["float"])
    assert precisions(seen) == {"float32"} and seen.quantize == seen.dequantize == 0
    assert seen.counts["CONV_2D"] == {"float32": 2} and seen.counts["FULLY_CONNECTED"] == {"float32": 5}
    assert seen.float_islands == () and seen.slow_path == ()
    assert seen.tensors[seen.inputs[0]].shape == (1, 3, 16, 16)


def test_int8_file_is_int8_and_names_slow_operators(files):
    seen = inspect(files["int8"])
    assert precisions(seen) == {"int8"} and seen.float_islands == ()
    slow = {op.type: op.reason for op in seen.slow_path}
    assert slow["SOFTMAX"] == slow["HARD_SWISH"] == "no int8 kernel"
    assert slow["MEAN"] == "mean over axes [1], must be [1, 2] or [2]"
    assert not {"CONV_2D", "TRANSPOSE"} & set(slow)
    # The stock tool makes a matrix product of batch one a FULLY_CONNECTED; those alone are slow among them.
    computed = {
        op.index for op in seen.operators if op.type == "FULLY_CONNECTED" and not seen.tensors[op.inputs[1]].is_constant
    }
    assert computed and {op.index for op in seen.slow_path if op.type == "FULLY_CONNECTED"} == computed
    assert slow["FULLY_CONNECTED"] == "computed weights, must be constant"


def test_scales_are_per_channel(files):
    seen = inspect(files["int8"])
    convolution = next(op for op in seen.operators if op.type == "CONV_2D")
    picture, weight, bias = (seen.tensors[i] for i in convolution.inputs)
    assert len(weight.scales) == 8 and weight.axis == 0 and set(weight.zero_points) == {0} and weight.is_constant
    assert len(picture.scales) == 1 and picture.dtype == "int8" and not picture.is_constant
    for channel, scale in enumerate(bias.scales):
        assert scale == pytest.approx(picture.scales[0] * weight.scales[channel], rel=1e-5)


def test_islands_lie_between_integers(files):
    seen = inspect(files["mixed"])
    assert seen.counts["SOFTMAX"] == seen.counts["HARD_SWISH"] == {"float32": 1}
    assert seen.counts["CONV_2D"] == {"int8": 2}
    assert seen.counts["QUANTIZE"] == {"boundary": 2} and seen.counts["DEQUANTIZE"] == {"boundary": 2}
    assert (seen.quantize, seen.dequantize) == (2, 2)
    assert [island.kind for island in seen.float_islands] == ["interior", "interior"]
    assert [island.name.split(" in ")[0] for island in seen.float_islands] == ["HARD_SWISH", "SOFTMAX"]
    assert seen.summary().float_islands == tuple(island.name for island in seen.float_islands)
    assert seen.summary().counts == seen.counts and seen.summary().quantize == 2


@pytest.mark.parametrize("name", ["weights", "dynamic"])
def test_integer_weights_alone_are_not_int8(files, name):
    seen = inspect(files[name])
    assert "int8" not in precisions(seen)
    assert seen.counts["FULLY_CONNECTED"]["weights_only"] >= 3 and seen.counts["SOFTMAX"] == {"float32": 1}
    assert seen.quantize == 0 and seen.float_islands == ()


def test_names_are_those_of_the_modules(files):
    names = {op.name for op in inspect(files["float"]).operators if op.type in ("CONV_2D", "FULLY_CONNECTED")}
    assert {"stem.0", "stem.2", "q", "k"} <= names


@pytest.mark.parametrize(
    "tensor, name",
    [
        ("__main__.Net/torch.nn.modules.container.Sequential_stem/torch.nn.modules.conv.Conv2d_0;3", "stem.0"),
        ("__main__.Net;;__main__.Net/torch.nn.modules.linear.Linear_fc;", ""),
        ("torch.export.<locals>._tuplify_outputs.<locals>.Wrapper;66", ""),
        ("serving_default_args_0:0", "serving_default_args_0:0"),
        ("conv/Relu", "conv/Relu"),
    ],
)
def test_readable_names(tensor, name):
    assert readable_name(tensor) == name


def test_wrong_files_are_named(files, tmp_path):
    with pytest.raises(ValueError, match=r"gone\.tflite: no such file"):
        inspect(tmp_path / "gone.tflite")
    (tmp_path / "empty.tflite").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.tflite is not a \.tflite model"):
        inspect(tmp_path / "empty.tflite")


def test_damaged_files_never_raise_anything_else(files, tmp_path):
    whole = files["mixed"].read_bytes()
    path = tmp_path / "cut.tflite"
    is_refused = 0
    for step in range(1, 40):
        path.write_bytes(whole[:8] + bytes(whole[8 + step : len(whole) * step // 40]))
        try:
            inspect(path)
        except ValueError as e:
            assert str(e).startswith(f"{path} is cut short or damaged")
            is_refused += 1
    assert is_refused > 30
