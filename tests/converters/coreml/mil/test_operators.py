"""Every operator against coremltools' own evaluation, or against torch where coremltools has none."""

import numpy as np
import pytest
import torch
from torch import nn

from converters.coreml.mil import operators
from converters.coreml.mil.operators import OPERATORS

pytestmark = pytest.mark.needs_coreml

# Arguments on which coremltools can evaluate an operator itself; ours must give the same.
X = np.linspace(-4, 4, 24, dtype=np.float32).reshape(2, 3, 4)
INTS = np.arange(-6, 18, dtype=np.int32).reshape(2, 3, 4)
ROW = X[:, :1] * 0.5 + 0.3
OWN = [
    *((name, {"x": X}) for name in ("relu", "relu6", "sigmoid")),
    *((name, {"x": X, "y": ROW}) for name in ("add", "sub", "mul")),
    *((name, {"x": INTS, "y": np.int32(4)}) for name in ("add", "sub", "mul")),
    ("clip", {"x": X, "alpha": -1.0, "beta": 2.0}),
    ("sigmoid_hard", {"x": X, "alpha": 0.2, "beta": 0.5}),
    ("thresholded_relu", {"x": X, "alpha": -1.0}),
    ("softmax", {"x": X, "axis": 1}),
    ("cast", {"x": X, "dtype": "int32"}),
    ("cast", {"x": X, "dtype": "bool"}),
    ("cast", {"x": INTS, "dtype": "fp32"}),
    ("reduce_mean", {"x": X, "axes": [0, -1], "keep_dims": False}),
    ("reduce_mean", {"x": X, "axes": [1], "keep_dims": True}),
    ("reshape", {"x": X, "shape": [4, -1]}),
    ("transpose", {"x": X, "perm": [2, 0, 1]}),
    ("expand_dims", {"x": X, "axes": [0, -1]}),
    ("squeeze", {"x": X[:, :1], "axes": [1]}),
    ("slice_by_index", {"x": X, "begin": [0, 2, 3], "end": [1, 0, 0], "stride": [1, -1, -2],
                        "end_mask": [False, True, True]}),
    ("slice_by_index", {"x": X, "begin": [-1, 0, 1], "end": [0, 3, -1], "squeeze_mask": [True, False, False]}),
    ("slice_by_index", {"x": X, "begin": [1, 1, 1], "end": [2, 2, 2], "begin_mask": [True, False, False]}),
    ("tile", {"x": X, "reps": [1, 2, 3]}),
    ("pad", {"x": X, "pad": [0, 1, 2, 0], "mode": "constant", "constant_val": 3.0}),
    # halves to even, both ends saturate
    ("quantize", {"input": X * 64, "scale": np.float32(0.5), "zero_point": np.int8(3), "output_dtype": "int8"}),
    ("quantize", {"input": np.arange(-8, 8, dtype=np.float32) / 2, "scale": np.float32(1), "output_dtype": "int8"}),
    ("quantize", {"input": X, "scale": np.array([0.1, 0.01, 0.5], np.float32),
                  "zero_point": np.array([0, 128, 255], np.uint8), "output_dtype": "uint8", "axis": 1}),
    ("dequantize", {"input": INTS.astype(np.int8) * 7, "scale": np.float32(0.3), "zero_point": np.int8(-128)}),
    ("dequantize", {"input": INTS.astype(np.int8), "scale": np.array([0.1, 0.2], np.float32),
                    "zero_point": np.array([-5, 7], np.int8), "axis": 0}),
    ("constexpr_affine_dequantize", {"quantized_data": INTS.astype(np.int8), "scale": np.array([0.1, 0.2], np.float32),
                                     "zero_point": np.array([-5, 7], np.int8), "axis": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "arguments"), OWN)
def test_operator_equals_coremltools_own_evaluation(kind: str, arguments: dict[str, object]) -> None:
    (expected,) = own_evaluation(kind, arguments)
    arrays = (np.ndarray, np.generic)
    given = {k: torch.from_numpy(np.array(v)) if isinstance(v, arrays) else v for k, v in arguments.items()}
    result = OPERATORS[kind](given)
    assert tuple(result.shape) == expected.shape
    assert np.allclose(result.numpy().astype(np.float64), expected.astype(np.float64), rtol=2e-6, atol=1e-6)


def own_evaluation(kind: str, arguments: dict[str, object]) -> list[np.ndarray]:
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder

    outputs: list[object] = []

    @Builder.program(input_specs=[Builder.TensorSpec((1,))], opset_version=ct.target.iOS17)
    def program(unused: object) -> object:
        result = getattr(Builder, kind)(**arguments)
        outputs.extend(result if isinstance(result, list | tuple) else [result])
        return unused

    values = [o.val if o.val is not None else o.op.materialized_val_inference() for o in outputs]  # type: ignore[attr-defined]
    return [np.asarray(v) for v in values]


def run(kind: str, **arguments: object) -> torch.Tensor:
    return OPERATORS[kind](arguments)


def test_every_operator_is_tested() -> None:
    by_hand = {"gelu", "silu", "concat", "split", "conv", "linear", "matmul", "max_pool", "avg_pool", "batch_norm",
               "layer_norm"}  # fmt: skip
    assert {kind for kind, _ in OWN} | by_hand == set(OPERATORS)


def test_activations_equal_torch() -> None:
    x = torch.linspace(-4, 4, 24)
    assert torch.equal(run("silu", x=x), nn.functional.silu(x))
    assert torch.equal(run("gelu", x=x), nn.functional.gelu(x))
    assert torch.equal(run("gelu", x=x, mode="TANH_APPROXIMATION"), nn.functional.gelu(x, approximate="tanh"))
    assert torch.equal(run("gelu", x=x, mode="SIGMOID_APPROXIMATION"), x * torch.sigmoid(1.702 * x))


def test_joining_and_splitting() -> None:
    x = torch.arange(1.0, 5.0)
    assert run("concat", values=[x[:2], x[2:]], axis=0).tolist() == [1, 2, 3, 4]
    assert run("concat", values=[x[:2], x[2:]], axis=0, interleave=True).tolist() == [1, 3, 2, 4]
    assert run("concat", values=x, axis=0).tolist() == [1, 2, 3, 4]
    assert [part.tolist() for part in run("split", x=x, axis=0, num_splits=2)] == [[1, 2], [3, 4]]
    assert [part.tolist() for part in run("split", x=x, axis=0, split_sizes=[1, 3])] == [[1], [2, 3, 4]]
    with pytest.raises(ValueError, match="padding of mode 'reflect' is not known here; constant is"):
        run("pad", x=x, pad=[1, 1], mode="reflect")


def test_products_equal_torch() -> None:
    x, weight, bias = torch.rand(2, 3, 4), torch.rand(5, 4), torch.rand(5)
    assert torch.equal(run("linear", x=x, weight=weight, bias=bias), nn.functional.linear(x, weight, bias))
    assert torch.equal(run("linear", x=x, weight=weight), nn.functional.linear(x, weight))
    assert torch.equal(run("matmul", x=x, y=x, transpose_x=True), x.mT @ x)
    assert torch.equal(run("matmul", x=x, y=x, transpose_y=True), x @ x.mT)


def test_convolutions() -> None:
    x, weight, bias = torch.rand(1, 4, 7, 9), torch.rand(6, 2, 3, 3), torch.rand(6)
    arguments = {"x": x, "weight": weight, "bias": bias, "strides": [2, 1], "dilations": [1, 2], "groups": 2}
    expected = nn.functional.conv2d(x, weight, bias, (2, 1), (1, 2), (1, 2), 2)
    assert torch.allclose(run("conv", **arguments, pad_type="custom", pad=[1, 1, 2, 2]), expected)
    assert run("conv", **arguments, pad_type="valid").shape == (1, 6, 3, 5)
    # Rows before and after may differ.
    padded = nn.functional.conv2d(nn.functional.pad(x, (0, 1, 1, 0)), weight, groups=2)
    assert torch.allclose(run("conv", x=x, weight=weight, pad_type="custom", pad=[1, 0, 0, 1], groups=2), padded)
    same = {"x": torch.ones(1, 1, 5, 5), "weight": torch.ones(1, 1, 2, 2), "strides": [2, 2]}
    assert run("conv", **same, pad_type="same")[0, 0].tolist() == [[4, 4, 2], [4, 4, 2], [2, 2, 1]]
    assert run("conv", **same, pad_type="same_lower")[0, 0].tolist() == [[1, 2, 2], [2, 4, 4], [2, 4, 4]]


POOL = {"kernel_sizes": [3, 3], "strides": [2, 2], "pad": [1, 1, 1, 1], "pad_type": "custom"}


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pools_count_padding_like_torch(ceil_mode: bool) -> None:
    x = torch.randn(1, 2, 6, 7) - 2
    expected = nn.functional.max_pool2d(x, 3, 2, 1, ceil_mode=ceil_mode)
    assert torch.equal(run("max_pool", x=x, ceil_mode=ceil_mode, **POOL), expected)
    for exclude in (False, True):
        arguments = {"exclude_padding_from_average": exclude, "ceil_mode": ceil_mode}
        expected = nn.functional.avg_pool2d(x, 3, 2, 1, ceil_mode, not exclude)
        assert torch.allclose(run("avg_pool", x=x, **arguments, **POOL), expected)


def test_norms_equal_torch() -> None:
    x = torch.randn(2, 3, 4, 5)
    mean, variance, gamma, beta = torch.rand(4, 3)
    expected = nn.functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)
    found = run("batch_norm", x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=1e-3)
    assert torch.equal(found, expected)
    gamma, beta = torch.rand(2, 4, 5)
    expected = nn.functional.layer_norm(x, (4, 5), gamma, beta, 1e-3)
    found = run("layer_norm", x=x, axes=[-1, 2], gamma=gamma, beta=beta, epsilon=1e-3)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(run("layer_norm", x=x, axes=[3]), nn.functional.layer_norm(x, (5,)), atol=1e-6)


def test_a_zero_in_a_reshape_keeps_the_side():
    """Core ML's documentation says so; coremltools' own evaluation refuses it."""
    x = torch.from_numpy(X)
    assert operators.reshape(x, [0, 12]).shape == (2, 12)
