"""Lowering to TFLite: what the tool would do by itself and must not."""

import pytest
import torch
from torch import nn

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from converters.tflite.inspect import inspect
from converters.tflite.lower import TFLiteOptions, convert
from converters.tflite.run import load
from edge_vit.layers.attention import merge_heads, split_heads
from edge_vit.layers.pixel_input import PixelInput
from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.plan import make_plan
from edge_vit.quantization.ptq import calibrate
from edge_vit.quantization.quantizer import quantize_graph

pytestmark = pytest.mark.needs_tflite


class _PlainAttention(nn.Module):
    """A convolution and one attention without bias: scores go straight into the softmax."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.q, self.k, self.v, self.head = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1).flatten(1, 2)
        q, k, v = (split_heads(linear(x), 2) for linear in (self.q, self.k, self.v))
        scores = torch.bmm(q, k.transpose(1, 2))
        return self.head(merge_heads(torch.bmm(scores.softmax(-1), v), 2).mean(1))


def quantized(net):
    """Return the qdq graph of a small network on 16 x 16 pixels, and what it was calibrated on."""
    model = PixelInput(net.eval(), 16, IMAGENET_MEAN, IMAGENET_STD).eval()
    batches = [torch.randint(0, 256, (1, 16, 16, 3)).float() for _ in range(8)]
    graph = export_graph(model, batches[0])
    plan = make_plan(graph)
    return quantize_graph(graph, plan, calibrate(graph, plan, batches)), batches


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    torch.manual_seed(0)
    qdq, batches = quantized(_PlainAttention())
    path = tmp_path_factory.mktemp("tflite") / "plain_int8.tflite"
    return convert(qdq, (batches[0],), path, options=TFLiteOptions()), qdq, batches, path


def test_softmax_without_bias_stays_float(converted):
    result, _, _, path = converted
    counts = inspect(path).counts
    assert counts["SOFTMAX"] == {"float32": 1} and counts["BATCH_MATMUL"] == {"int8": 2}
    assert result.precision == "int8" and result.input_shape == (1, 16, 16, 3)


def test_file_agrees_with_the_qdq_graph(converted):
    _, qdq, batches, path = converted
    call = load(path, 1)
    for batch in batches:
        expected = qdq(batch).detach().numpy()
        actual = call(batch.numpy().astype("uint8"))
        assert abs(actual - expected).max() < 0.05 * abs(expected).max() + 1e-6


class _OneHead(nn.Module):
    """Attention of one head with a bias, a ReLU on its own, and a large constant that two additions share."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.q, self.k, self.v, self.head = (nn.Linear(8, 8) for _ in range(4))
        self.register_buffer("bias", torch.randn(64, 64))

    def attend(self, x):
        scores = torch.bmm(self.q(x), self.k(x).transpose(1, 2)) + self.bias
        return torch.bmm(scores.softmax(-1), self.v(x))

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1).flatten(1, 2)
        first = self.attend(x)
        x = torch.cat([first, self.attend(first)], 2).relu()
        return self.head(x[:, :, 4:12].reshape(1, 8, 8, 8).mean((1, 2)))


def test_one_head_and_a_lone_relu_stay_with_the_fast_kernels(tmp_path):
    torch.manual_seed(0)
    qdq, batches = quantized(_OneHead())
    path = tmp_path / "one_head_int8.tflite"
    convert(qdq, (batches[0],), path, options=TFLiteOptions())
    inspection = inspect(path)
    assert inspection.counts["BATCH_MATMUL"] == {"int8": 4} and "RELU" not in inspection.counts
    # Nothing but the learned layers is a FULLY_CONNECTED, and no transposition is left without a reader.
    assert inspection.counts["FULLY_CONNECTED"] == {"int8": 7} and inspection.slow_path == ()
    read = {i for op in inspection.operators for i in op.inputs} | set(inspection.outputs)
    assert all(set(op.outputs) & read for op in inspection.operators)
    assert inspection.counts["DEQUANTIZE"]["constant"] == 1
    call = load(path, 1)
    for batch in batches:
        expected = qdq(batch).detach().numpy()
        assert abs(call(batch.numpy().astype("uint8")) - expected).max() < 0.05 * abs(expected).max()


def test_gelu_computes_in_float_between_int8_values(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.GELU(), nn.Conv2d(16, 8, 3, padding=1))
    qdq, batches = quantized(net)
    path = tmp_path / "gelu_int8.tflite"
    convert(qdq, (batches[0],), path, options=TFLiteOptions())
    inspection = inspect(path)
    assert inspection.counts["GELU"] == {"float32": 1} and inspection.slow_path == ()
    for batch in batches:
        expected = qdq(batch).detach().numpy()
        assert abs(load(path, 1)(batch.numpy().astype("uint8")) - expected).max() < 0.03 * abs(expected).max()


class _StridedConstants(nn.Module):
    """Additions of constants of equal shape that do not lie in plain order."""

    def __init__(self):
        super().__init__()
        for i in range(24):
            self.register_buffer(f"c{i}", torch.randn(16, 64).t())

    def forward(self, x):
        for constant in self.buffers():
            x = (x + constant).relu()
        return x


def test_strided_constants_stay_apart(tmp_path):
    torch.manual_seed(0)
    model, x = _StridedConstants().eval(), torch.randint(0, 256, (1, 64, 16)).float()
    path = tmp_path / "constants.tflite"
    convert(model, (x,), path, options=TFLiteOptions())
    inspection = inspect(path)
    constants = {
        i for op in inspection.operators if op.type == "ADD" for i in op.inputs if inspection.tensors[i].is_constant
    }
    assert len(constants) == 24
    outputs = torch.from_numpy(load(path, 1)(x.numpy().astype("uint8")))
    torch.testing.assert_close(outputs, model(x), rtol=1e-5, atol=1e-5)


def test_training_mode_and_mixed_options_are_refused(converted, tmp_path):
    _, qdq, batches, _ = converted
    with pytest.raises(ValueError, match="training mode"):
        convert(_PlainAttention().train(), (torch.zeros(1, 3, 16, 16),), tmp_path / "x.tflite", options=TFLiteOptions())
    with pytest.raises(ValueError, match="half_precision is for float graphs"):
        convert(qdq, (batches[0],), tmp_path / "x.tflite", options=TFLiteOptions(half_precision=True))
    assert not any(tmp_path.iterdir())
