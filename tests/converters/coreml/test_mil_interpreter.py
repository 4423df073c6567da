"""The interpreter against torch, against coremltools' own evaluation, and on damaged files."""

import json
import logging
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edge_vit
from converters.coreml.mil import interpreter as mil_interpreter
from converters.coreml.mil import program, wire
from converters.coreml.mil.interpreter import load

pytestmark = pytest.mark.needs_coreml
TOLERANCE = 1e-4  # of the largest output
Shape = tuple[int, ...]


class ResNetLike(nn.Module):
    """Residual convolutions with batch norm, max pool and global average pool."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 16, 7, 2, 3, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(nn.Conv2d(16, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1))
        self.short = nn.Conv2d(16, 24, 1, 2)
        self.head = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(self.body(x) + self.short(x))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class MobileNetLike(nn.Module):
    """Inverted residuals, depthwise convolutions, squeeze and excitation, ReLU6, Hardswish and SiLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.expand = nn.Sequential(nn.Conv2d(8, 32, 1), nn.BatchNorm2d(32), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(32, 32, 5, 1, 2, groups=32), nn.SiLU(), nn.AvgPool2d(3, 1, 1))
        self.squeeze = nn.Sequential(nn.Conv2d(32, 8, 1), nn.ReLU(), nn.Conv2d(8, 32, 1), nn.Hardsigmoid())
        self.project = nn.Conv2d(32, 8, 1)
        self.head = nn.Linear(8, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.depthwise(self.expand(x))
        y = self.project(y * self.squeeze(y.mean((2, 3), keepdim=True)))
        x = nn.functional.interpolate(x + y, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(x.mean((2, 3)))


class TransformerLike(nn.Module):
    """A small encoder: patches, class token, positions, LayerNorm, four-axis attention, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.cls = nn.Parameter(torch.randn(1, 1, 32))
        self.position = nn.Parameter(torch.randn(1, 65, 32))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
        self.qkv, self.proj = nn.Linear(32, 96), nn.Linear(32, 32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32), nn.GELU(approximate="tanh"))
        self.head = nn.Linear(32, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.position
        q, k, v = self.qkv(self.norms[0](x)).reshape(1, 65, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) * 8**-0.5, -1)
        x = x + self.proj((weights @ v).transpose(1, 2).flatten(2))
        x = x + self.mlp(self.norms[1](x))
        return self.head(self.norms[2](x)[:, 0])


class DecoderLike(nn.Module):
    """What segmenters and upsamplers use: transposed convolution, pixel shuffle, group norm, PReLU, padding, top k."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.PReLU(16), nn.ReflectionPad2d(1))
        self.up = nn.ConvTranspose2d(16, 12, 3, 2, 1, output_padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.norm = nn.InstanceNorm2d(3, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.shuffle(torch.tanh(self.up(self.down(x)))))
        x = nn.functional.interpolate(x, scale_factor=2, mode="nearest") - nn.functional.avg_pool2d(x, 1, 1).mean()
        x = nn.functional.max_pool2d(x[:, :, 1:-1:2, :], 3, 2, 1, ceil_mode=True).clamp(-2, 2).flatten(2)
        values, order = torch.topk(x.logsumexp(1), 5)
        return torch.cat([values, torch.gather(x[:, 0], 1, order), torch.where(order > 40, values.exp(), -values)], 1)


def randomise(model: nn.Module) -> nn.Module:
    """Give norms statistics that are not the identity, so that a swapped mean and variance would show."""
    generator = torch.Generator().manual_seed(0)
    norms = nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm
    for module in (m for m in model.modules() if isinstance(m, norms)):
        for name in ("weight", "bias", "running_mean", "running_var"):
            if isinstance(value := getattr(module, name, None), Tensor):
                value.data.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def deployed(name: str) -> nn.Module:
    torch.manual_seed(0)
    return edge_vit.fuse(randomise(edge_vit.create_model(name, num_classes=10)))


def to_package(model: nn.Module, path: Path, shape: Shape, precision: str = "fp32", **options: object) -> Path:
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as ct

        program = torch.export.export(model, (torch.zeros(shape),)).run_decompositions({})
        precisions = {"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}
        options = {"minimum_deployment_target": ct.target.iOS17, "compute_precision": precisions[precision]} | options
        ct.convert(program, skip_model_load=True, **options).save(str(path))
    return path


def largest_error(package: Path, model: nn.Module, shape: Shape) -> float:
    """Return the largest difference from torch, as a share of torch's largest output."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    loaded = load(package)
    (result,) = loaded.predict({loaded.inputs[0].name: x}).values()
    with torch.no_grad():
        expected = model(x).numpy()
    assert result.shape == expected.shape
    return float(np.abs(result - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    model = randomise(TransformerLike())
    return model, to_package(model, tmp_path_factory.mktemp("mil") / "t.mlpackage", (1, 3, 64, 64))


@pytest.mark.parametrize("kind", [ResNetLike, MobileNetLike, DecoderLike])
def test_equal_to_torch_for_networks_that_are_not_ours(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = randomise(kind())
    package = to_package(model, tmp_path / "m.mlpackage", (1, 3, 64, 64))
    assert largest_error(package, model, (1, 3, 64, 64)) < TOLERANCE


def test_equal_to_torch_for_a_transformer(transformer: tuple[nn.Module, Path]) -> None:
    model, package = transformer
    assert largest_error(package, model, (1, 3, 64, 64)) < TOLERANCE


def test_equal_to_torch_for_our_model(tmp_path: Path) -> None:
    model = deployed("levit_128s")
    package = to_package(model, tmp_path / "m.mlpackage", (1, 3, 224, 224))
    assert largest_error(package, model, (1, 3, 224, 224)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", edge_vit.list_models())
def test_equal_to_torch_for_every_variant(name: str, tmp_path: Path) -> None:
    model = deployed(name)
    if sum(p.numel() for p in model.parameters()) > 60e6:
        pytest.skip("above 60 M parameters")
    package = to_package(model, tmp_path / "m.mlpackage", (1, 3, 224, 224))
    assert largest_error(package, model, (1, 3, 224, 224)) < TOLERANCE


def test_float16_rounds_every_result_and_stays_near(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = randomise(ResNetLike())
    package = to_package(model, tmp_path / "m.mlpackage", (1, 3, 64, 64), "fp16")
    assert 1e-5 < largest_error(package, model, (1, 3, 64, 64)) < 1e-2
    values = load(package).evaluate({"x": torch.randn(1, 3, 64, 64)})
    activations = [v for v in values.values() if isinstance(v, np.ndarray) and v.ndim == 4 and v.shape[0] == 1]
    assert [v.dtype for v in activations].count(np.dtype(np.float16)) == len(activations) - 1  # all but the input


# Arguments on which coremltools can evaluate an operator itself; ours must give the same.
X = np.linspace(-4, 4, 24, dtype=np.float32).reshape(2, 3, 4)
POSITIVE = np.abs(X) + 0.25
UNIT = X / 5
INTS = np.arange(-6, 18, dtype=np.int32).reshape(2, 3, 4)
ELEMENTWISE = [
    *((name, {"x": X}) for name in (
        "abs", "atan", "ceil", "cos", "cosh", "exp", "exp2", "floor", "relu", "relu6", "round", "sigmoid", "sign",
        "sin", "sinh", "softplus", "softsign", "square", "tan", "tanh", "identity", "erf",
    )),
    *((name, {"x": UNIT}) for name in ("acos", "asin", "atanh")),
    *((name, {"x": POSITIVE}) for name in ("sqrt", "rsqrt", "log", "inverse")),
    *((name, {"x": X, "y": X[:, :1] * 0.5 + 0.3}) for name in (
        "add", "sub", "mul", "real_div", "floor_div", "mod", "maximum", "minimum", "greater", "greater_equal", "less",
        "less_equal", "equal", "not_equal",
    )),
    *((name, {"x": INTS, "y": np.int32(4)}) for name in ("add", "floor_div", "mod", "less")),
    ("pow", {"x": POSITIVE, "y": X}),
    *((name, {"x": X > 0, "y": X < 2}) for name in ("logical_and", "logical_or", "logical_xor")),
    ("logical_not", {"x": X > 0}),
    ("select", {"cond": X > 0, "a": X, "b": -X}),
    ("clip", {"x": X, "alpha": -1.0, "beta": 2.0}),
    ("clamped_relu", {"x": X, "alpha": 0.1, "beta": 2.0}),
    ("elu", {"x": X, "alpha": 0.7}),
    ("leaky_relu", {"x": X, "alpha": 0.2}),
    ("linear_activation", {"x": X, "alpha": 0.2, "beta": 0.3}),
    ("prelu", {"x": X[..., None], "alpha": np.array([0.1, 0.2, 0.3], np.float32)}),
    ("scaled_tanh", {"x": X, "alpha": 0.5, "beta": 0.25}),
    ("sigmoid_hard", {"x": X, "alpha": 0.2, "beta": 0.5}),
    ("softplus_parametric", {"x": X, "alpha": np.ones(3, np.float32) * 2, "beta": np.arange(1, 4, dtype=np.float32)}),
    ("threshold", {"x": X, "alpha": -1.0}),
    ("thresholded_relu", {"x": X, "alpha": -1.0}),
    ("softmax", {"x": X, "axis": 1}),
    ("cast", {"x": X, "dtype": "int32"}),
    ("cast", {"x": X, "dtype": "bool"}),
    ("cumsum", {"x": X, "axis": 1, "exclusive": False, "reverse": True}),
    *((f"reduce_{name}", {"x": POSITIVE, "axes": [0, -1], "keep_dims": False}) for name in (
        "l1_norm", "l2_norm", "log_sum", "log_sum_exp", "max", "mean", "min", "prod", "sum", "sum_square",
    )),
    ("reduce_argmax", {"x": X, "axis": 1, "keep_dims": True}),
    ("reduce_argmin", {"x": X, "axis": -1, "keep_dims": False}),
]  # fmt: skip
LAYOUT = [
    ("reshape", {"x": X, "shape": [4, -1]}),
    ("transpose", {"x": X, "perm": [2, 0, 1]}),
    ("expand_dims", {"x": X, "axes": [0, -1]}),
    ("squeeze", {"x": X[:, :1], "axes": [1]}),
    ("flatten2d", {"x": X, "axis": 2}),
    ("slice_by_index", {"x": X, "begin": [0, 2, 3], "end": [1, 0, 0], "stride": [1, -1, -2],
                        "end_mask": [False, True, True]}),
    ("slice_by_index", {"x": X, "begin": [-1, 0, 1], "end": [0, 3, -1], "squeeze_mask": [True, False, False]}),
    ("slice_by_size", {"x": X, "begin": [1, 0, 1], "size": [1, -1, 2]}),
    ("tile", {"x": X, "reps": [1, 2, 3]}),
    ("gather", {"x": X, "indices": np.array([[0, -1], [2, 1]], np.int32), "axis": 1}),
    ("gather_along_axis", {"x": X, "indices": np.array([[[0, 1, 0, 1]]], np.int32).repeat(3, 1), "axis": 0}),
    ("range_1d", {"start": 2, "end": 9, "step": 3}),
    ("fill", {"shape": [2, 3], "value": 1.5}),
    ("shape", {"x": X}),
    ("non_zero", {"x": INTS}),
    ("band_part", {"x": X, "lower": 1, "upper": 0}),
    ("reverse", {"x": X, "axes": [1]}),
    ("topk", {"x": X, "k": 2, "axis": 1, "ascending": True}),
    ("argsort", {"x": -X, "axis": 1, "ascending": True}),
    ("pad", {"x": X, "pad": [0, 1, 2, 0], "mode": "constant", "constant_val": 3.0}),
    ("pad", {"x": X, "pad": [0, 1, 2, 1], "mode": "reflect"}),
]  # fmt: skip
QUANTIZED = [
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
    ("constexpr_cast", {"source_val": X.astype(np.float16), "output_dtype": "fp32"}),
    ("constexpr_lut_to_dense", {"indices": np.array([0b10011100, 0b01], np.uint8), "lut": X.reshape(-1)[:4],
                                "shape": np.array([5], np.uint32)}),
    ("constexpr_sparse_to_dense", {"nonzero_data": X.reshape(-1)[:3], "mask": np.array([0b10110], np.uint8),
                                   "shape": np.array([5], np.uint32)}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "arguments"), ELEMENTWISE + LAYOUT + QUANTIZED)
def test_operator_equals_coremltools_own_evaluation(kind: str, arguments: dict[str, object]) -> None:
    expected = own_evaluation(kind, arguments)
    arrays = (np.ndarray, np.generic)
    given = {k: torch.from_numpy(np.array(v)) if isinstance(v, arrays) else v for k, v in arguments.items()}
    results = mil_interpreter.KERNELS[kind](given)
    for result, value in zip(results if isinstance(results, tuple) else (results,), expected, strict=True):
        assert tuple(result.shape) == value.shape
        assert np.allclose(result.numpy().astype(np.float64), value.astype(np.float64), rtol=2e-6, atol=1e-6)


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


def test_operators_that_coremltools_does_not_evaluate() -> None:
    run = lambda kind, **arguments: mil_interpreter.KERNELS[kind](arguments)  # noqa: E731
    x = torch.arange(1.0, 5.0)
    assert run("cumsum", x=x, exclusive=True).tolist() == [0, 1, 3, 6]
    assert run("cumsum", x=x, exclusive=True, reverse=True).tolist() == [9, 7, 4, 0]
    index = torch.tensor([0, 2])
    assert run("one_hot", indices=index, one_hot_vector_size=3, axis=0).tolist() == [[1, 0], [0, 0], [0, 1]]
    assert torch.allclose(run("silu", x=x), x * torch.sigmoid(x))
    assert run("crop", x=x.view(1, 1, 2, 2), crop_height=[1, 0], crop_width=[0, 1]).tolist() == [[[[3.0]]]]
    image = torch.arange(6.0).view(1, 1, 2, 3)
    nearest = run("resize_nearest_neighbor", x=image, target_size_height=4, target_size_width=3)
    assert nearest[0, 0, :, 0].tolist() == [0, 0, 3, 3]
    grids = {"STRICT_ALIGN_CORNERS": [0, 0.25, 0.5, 0.75, 1], "DEFAULT": [0, 0.4, 0.8, 1, 1],
             "OFFSET_CORNERS": [0.1, 0.3, 0.5, 0.7, 0.9], "UNALIGN_CORNERS": [0, 0.1, 0.5, 0.9, 1]}  # fmt: skip
    for mode, points in grids.items():  # the examples of Core ML's documentation
        row = run("resize_bilinear", x=torch.tensor([[[0.0, 1.0]]]), target_size_width=5, sampling_mode=mode)
        assert torch.allclose(row.flatten(), torch.tensor(points)), mode
    depth = run("depth_to_space", x=torch.arange(4.0).view(1, 4, 1, 1), block_size=2)
    assert depth.tolist() == [[[[0, 1], [2, 3]]]]
    assert torch.equal(run("space_to_depth", x=depth, block_size=2).flatten(), torch.arange(4.0))
    data, at, new = torch.zeros(3), torch.tensor([[1], [1]]), torch.tensor([2.0, 3.0])
    assert run("scatter_nd", data=data, indices=at, updates=new, mode="add").tolist() == [0, 5, 0]
    with pytest.raises(ValueError, match="mode 'max' is not known here; add and update are"):
        run("scatter_nd", data=data, indices=at, updates=new, mode="max")
    table, rows, row = torch.ones(3, 2), torch.tensor([2, 0]), torch.tensor([[5.0, 6.0], [7.0, 8.0]])
    assert run("scatter", data=table, indices=rows, updates=row).tolist() == [[8, 9], [1, 1], [6, 7]]
    across = run("scatter", data=table.T, indices=rows, updates=row.T, axis=1, mode="update")
    assert across.tolist() == [[7, 1, 5], [8, 1, 6]]
    with pytest.raises(ValueError, match="mode 'max' is not known here; add and update are"):
        run("scatter", data=table, indices=rows, updates=row, mode="max")
    assert run("gather_nd", x=x, indices=at).tolist() == [2, 2]
    assert run("concat", values=[x[:2], x[2:]], axis=0, interleave=True).tolist() == [1, 3, 2, 4]
    same = {"x": torch.ones(1, 1, 5, 5), "weight": torch.ones(1, 1, 2, 2), "strides": [2, 2]}
    assert run("conv", **same, pad_type="same")[0, 0].tolist() == [[4, 4, 2], [4, 4, 2], [2, 2, 1]]
    assert run("conv", **same, pad_type="same_lower")[0, 0].tolist() == [[1, 2, 2], [2, 4, 4], [2, 4, 4]]
    with pytest.raises(ValueError, match="sampling mode 'NONE' is not known here"):
        run("resize_bilinear", x=image, sampling_mode="NONE")


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_average_pool_counts_padding_like_torch(exclude: bool, ceil_mode: bool) -> None:
    x = torch.rand(1, 2, 6, 7)
    arguments = {"x": x, "kernel_sizes": [3, 3], "strides": [2, 2], "pad": [1, 1, 1, 1], "pad_type": "custom",
                 "exclude_padding_from_average": exclude, "ceil_mode": ceil_mode}  # fmt: skip
    expected = nn.functional.avg_pool2d(x, 3, 2, 1, ceil_mode, not exclude)
    assert torch.allclose(mil_interpreter.KERNELS["avg_pool"](arguments), expected)


@pytest.mark.parametrize("scheme", ["int8", "int4_blocks", "palette", "sparse", "sparse_int8"])
def test_compressed_weights_equal_their_decompressed_form(
    scheme: str, transformer: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    import coremltools as ct
    from coremltools.optimize import coreml as cto

    target = ct.target.iOS17 if scheme == "int8" else ct.target.iOS18
    package = to_package(transformer[0], tmp_path / "m.mlpackage", (1, 3, 64, 64), minimum_deployment_target=target)
    model = ct.models.MLModel(str(package), skip_model_load=True)
    config = cto.OptimizationConfig
    linear = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=64)
    blocks = cto.OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=8, weight_threshold=64)
    palette = cto.OpPalettizerConfig(mode="uniform", nbits=3, weight_threshold=64)
    pruner = cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=64)
    sparse = cto.prune_weights(model, config(pruner)) if scheme.startswith("sparse") else None
    compressed = {
        "int8": lambda: cto.linear_quantize_weights(model, config(linear)),
        "int4_blocks": lambda: cto.linear_quantize_weights(model, config(blocks)),
        "palette": lambda: cto.palettize_weights(model, config(palette)),
        "sparse": lambda: sparse,
        "sparse_int8": lambda: cto.linear_quantize_weights(sparse, config(linear), joint_compression=True),
    }[scheme]()
    compressed.save(str(tmp_path / "c.mlpackage"))
    cto.decompress_weights(compressed).save(str(tmp_path / "d.mlpackage"))
    x = {"x": torch.randn(1, 3, 64, 64)}
    packed, plain = load(tmp_path / "c.mlpackage"), load(tmp_path / "d.mlpackage")
    assert any(kind.startswith("constexpr_") for kind in packed.operator_counts())
    assert not any(kind.startswith("constexpr_") for kind in plain.operator_counts())
    (one,), (other,) = packed.predict(x).values(), plain.predict(x).values()
    assert np.abs(one - other).max() < 1e-5 * np.abs(other).max()


@pytest.mark.parametrize(("color", "labels"), [("RGB", ["a", "b", "c", "d", "e", "f", "g"]), ("BGR", list(range(7)))])
def test_image_input_and_class_labels(color: str, labels: list[object], tmp_path: Path) -> None:
    import coremltools as ct

    torch.manual_seed(0)
    model = randomise(ResNetLike())
    image = ct.ImageType(name="image", shape=(1, 3, 64, 64), scale=1 / 64, bias=[-1.0, -2.0, 0.5], color_layout=color)
    config = ct.ClassifierConfig(labels, predicted_feature_name="label")
    package = to_package(model, tmp_path / "m.mlpackage", (1, 3, 64, 64), inputs=[image], classifier_config=config)
    loaded = load(package)
    assert [(f.name, f.kind, f.shape, f.color) for f in loaded.inputs] == [("image", "image", (64, 64), color)]
    assert loaded.program.label_name == "label"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    result = loaded.predict({"image": pixels})
    seen = pixels[..., ::-1] if color == "BGR" else pixels
    x = torch.from_numpy(seen.copy()).permute(2, 0, 1)[None] / 64 + torch.tensor([-1.0, -2.0, 0.5]).view(1, 3, 1, 1)
    with torch.no_grad():
        logits = model(x)[0].numpy()
    scores = result[loaded.program.probabilities_name]
    assert list(scores) == labels and result["label"] == labels[int(logits.argmax())]
    assert np.abs(np.array(list(scores.values())) - logits).max() < TOLERANCE * np.abs(logits).max()
    assert np.array_equal(loaded.predict({"image": pixels[None]})["label"], result["label"])
    with pytest.raises(ValueError, match=r"image 'image' is float32 \[64, 64, 3\]; expected uint8 \[64, 64, 3\]"):
        loaded.predict({"image": pixels.astype(np.float32)})


def test_loops_and_branches(tmp_path: Path) -> None:
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder, types

    specs = [Builder.TensorSpec((1,)), Builder.TensorSpec((1,), types.int32)]

    @Builder.program(input_specs=specs, opset_version=ct.target.iOS17)
    def program(x: object, rounds: object) -> object:
        limit = Builder.squeeze(x=rounds)
        condition = lambda i, total: Builder.less(x=i, y=limit)  # noqa: E731
        body = lambda i, total: (Builder.add(x=i, y=1), Builder.mul(x=total, y=2.0))  # noqa: E731
        _, total = Builder.while_loop(_cond=condition, _body=body, loop_vars=(0, x))
        is_large = Builder.squeeze(x=Builder.greater(x=total, y=10.0))
        negated = lambda: Builder.mul(x=total, y=-1.0)  # noqa: E731
        return Builder.cond(pred=is_large, _true_fn=negated, _false_fn=lambda: Builder.add(x=total, y=0.5))

    model = ct.convert(program, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32,
                       skip_model_load=True)  # fmt: skip
    model.save(str(tmp_path / "m.mlpackage"))
    loaded = load(tmp_path / "m.mlpackage")
    for rounds, expected in ((0, 1.5), (2, 4.5), (5, -32.0)):
        (result,) = loaded.predict({"x": np.ones(1, np.float32), "rounds": np.array([rounds], np.int32)}).values()
        assert result.tolist() == [expected]


def test_reads_the_same_program_as_coremltools(transformer: tuple[nn.Module, Path]) -> None:
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load as load_theirs

    package = transformer[1]
    spec = ct.utils.load_spec(str(package))
    theirs = load_theirs(spec, spec.specificationVersion, str(package / "Data/com.apple.CoreML/weights"))
    ours = load(package).program
    operations = theirs.functions["main"].operations
    assert [o.kind for o in ours.block.operations] == [o.op_type for o in operations]
    constants = {o.name: o.value for o in ours.block.operations if o.kind == "const"}
    for operation in operations:
        if operation.op_type == "const" and isinstance(operation.val.val, np.ndarray):
            assert np.array_equal(constants[operation.outputs[0].name].numpy(), operation.val.val)


def test_an_mlmodel_file_is_the_same_program(transformer: tuple[nn.Module, Path], tmp_path: Path) -> None:
    inside = transformer[1] / "Data/com.apple.CoreML"
    shutil.copy(inside / "model.mlmodel", tmp_path / "t.mlmodel")
    shutil.copytree(inside / "weights", tmp_path / "weights")
    assert largest_error(tmp_path / "t.mlmodel", transformer[0], (1, 3, 64, 64)) < TOLERANCE


def test_wrong_inputs_are_named(transformer: tuple[nn.Module, Path]) -> None:
    loaded = load(transformer[1])
    with pytest.raises(ValueError, match="inputs are x; got image"):
        loaded.predict({"image": np.zeros((1, 3, 64, 64), np.float32)})
    with pytest.raises(ValueError, match=r"input 'x' has shape \[1, 3, 32, 64\]; expected \[1, 3, 64, 64\]"):
        loaded.predict({"x": np.zeros((1, 3, 32, 64), np.float32)})


def test_all_unknown_operators_are_named_at_once(
    transformer: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(mil_interpreter.KERNELS)
    del known["softmax"], known["gelu"]
    monkeypatch.setattr(mil_interpreter, "KERNELS", known)
    loaded = load(transformer[1])
    assert loaded.unsupported() == ["gelu", "softmax"]
    with pytest.raises(ValueError, match=r"t\.mlpackage: operators not known to the interpreter: gelu, softmax"):
        loaded.predict({"x": np.zeros((1, 3, 64, 64), np.float32)})


def test_damaged_files_are_refused_with_a_reason(transformer: tuple[nn.Module, Path], tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(transformer[1], tmp_path / name))

    with pytest.raises(ValueError, match=r"none\.mlpackage: no such file"):
        load(tmp_path / "none.mlpackage")
    with pytest.raises(ValueError, match="has no function 'other'; choose from main"):
        load(transformer[1], "other")
    package = copy("manifest.mlpackage")
    (package / "Manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"not an \.mlpackage"):
        load(package)
    package = copy("short.mlpackage")
    weights = package / "Data/com.apple.CoreML/weights/weight.bin"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"cut off|no weight at offset"):
        load(package)
    weights.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        load(package)
    package = copy("model.mlpackage")
    entry = json.loads((package / "Manifest.json").read_text())["itemInfoEntries"].values()
    model = next(package / "Data" / e["path"] for e in entry if e["path"].endswith(".mlmodel"))
    whole = model.read_bytes()
    for length in (len(whole) // 3, len(whole) - 7):
        model.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"model\.mlpackage: "):
            load(package)
    (tmp_path / "text.mlmodel").write_text("not a model at all")
    with pytest.raises(ValueError, match=r"text\.mlmodel: "):
        load(tmp_path / "text.mlmodel")


def test_an_older_neural_network_is_refused(tmp_path: Path) -> None:
    message = struct.pack("BB", 1 << 3, 4) + bytes([500 << 3 & 0x7F | 0x80 | 2, 500 << 3 >> 7, 0])
    (tmp_path / "old.mlmodel").write_bytes(message)
    with pytest.raises(ValueError, match="holds neuralNetwork, no ML program; convert the model with convert_to="):
        load(tmp_path / "old.mlmodel")


def test_weights_outside_the_package_are_refused(tmp_path: Path) -> None:
    reader = program._Reader(tmp_path)
    with pytest.raises(ValueError, match="lies outside the package"):
        reader.from_file({"fileName": "@model_path/../secret.bin", "offset": 64}, 11, (1,))


@pytest.mark.parametrize(("bits", "signed"), [(1, False), (2, False), (3, False), (4, False), (4, True), (6, False)])
def test_packed_constants_cross_byte_borders(bits: int, signed: bool) -> None:
    values = np.arange(11) % (1 << bits)
    stream = (values[:, None] >> np.arange(bits) & 1).astype(np.uint8).reshape(-1)
    code = {1: 37, 2: 36, 3: 39, 4: 25 if signed else 35, 6: 38}[bits]
    expected = np.where(signed & (values >= 1 << bits - 1), values - (1 << bits), values)
    assert program._unpack(np.packbits(stream, bitorder="little"), code, (11,)).tolist() == expected.tolist()


def test_damaged_protocol_buffers_are_refused() -> None:
    for data in (b"\x08", b"\x12\x05ab", b"\x0b", b"\x08" + b"\xff" * 11, b"\x10\x01"):
        with pytest.raises(wire.WireError):
            wire.decode(data, "Model")
