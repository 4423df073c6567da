"""The whole way to a .pte: delegation counted, numbers compared in ExecuTorch's runtime, failures named."""

import errno
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from converters.checksum import sha256_file
from converters.executorch import clean_up as xnnpack_graph
from converters.executorch import lower as to_executorch
from converters.executorch import run as run_executorch
from converters.executorch.clean_up import cancel_turns_, pack_along_rows_
from converters.executorch.lower import ExecuTorchOptions, convert

pytestmark = [
    pytest.mark.needs_executorch,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),  # inside the SDK
]
Sqnr = Callable[[np.ndarray, np.ndarray], float]


def run_file(path: Path, images: np.ndarray) -> np.ndarray:
    call = run_executorch.load(path, 1)
    return np.concatenate([call(image[None]) for image in images])


def test_float_model_is_one_delegate_call(
    small_model: nn.Module, small_example: tuple[Tensor, ...], small_pictures: np.ndarray,
    torch_logits: Callable[..., np.ndarray], sqnr_db: Sqnr, tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "small.pte"
    result = convert(small_model, small_example, path, options=ExecuTorchOptions())
    assert (result.target, result.path, result.precision) == ("executorch", path, "fp32")
    assert (result.num_bytes, result.sha256) == (path.stat().st_size, sha256_file(path))
    assert result.input_shape == (1, 16, 16, 3)
    assert result.details["delegate_calls"] == 1
    assert result.details["slow_path"] == ()
    assert (
        result.delegated_nodes
        == result.total_nodes
        == sum(sum(by.values()) for by in result.details["operators"].counts.values())
    )
    assert (result.details["input_dtype"], result.details["input_range"]) == ("float32", (0.0, 255.0))
    assert set(result.tool_versions) == {"torch", "executorch", "torchao"}
    outputs = run_file(path, small_pictures.astype(np.float32))
    assert sqnr_db(torch_logits(small_model, small_pictures), outputs) > 90
    assert [p.name for p in tmp_path.iterdir()] == ["small.pte"]


FACTS = {
    "classes": ("ant", "Käfer 🪲"), "mean": (0.485, 0.456, 0.406), "resize": 256, "normalization": "inside",
    "output_kind": "logits",
}  # fmt: skip


@pytest.mark.parametrize("is_int8", [False, True])
def test_what_an_app_must_know_is_in_the_file(
    is_int8: bool, small_model: nn.Module, small_qdq: GraphModule, small_example: tuple[Tensor, ...], tmp_path: Path
) -> None:
    """Read with ExecuTorch's runtime; the network stays the first method, which its tools run by default."""
    from executorch.runtime import Runtime

    path, plain = tmp_path / "small.pte", tmp_path / "plain.pte"
    model = small_qdq if is_int8 else small_model
    convert(model, small_example, path, options=ExecuTorchOptions(facts=FACTS))
    convert(model, small_example, plain, options=ExecuTorchOptions())
    program = Runtime.get().load_program(path.read_bytes())
    said = {name: program.load_method(name).execute([]) for name in program.method_names - {"forward"}}
    assert said == {
        "get_classes": ["ant", "Käfer 🪲"], "get_mean": [0.485, 0.456, 0.406], "get_resize": [256],
        "get_normalization": ["inside"], "get_output_kind": ["logits"], "get_input_shape": [1, 16, 16, 3],
        "get_input_dtype": ["int8" if is_int8 else "float32"],
        "get_input_range": [-128.0, 127.0] if is_int8 else [0.0, 255.0],
    }  # fmt: skip
    from executorch.exir._serialize._program import deserialize_pte_binary

    files = [deserialize_pte_binary(p.read_bytes()) for p in (path, plain)]
    plans = [file.program.execution_plan for file in files]
    assert plans[0][0].name == "forward" and plans[0][0] == plans[1][0]
    assert files[0].program.backend_delegate_data == files[1].program.backend_delegate_data
    assert files[0].named_data == files[1].named_data


def test_int8_graph_is_one_delegate_call_and_really_int8(
    small_qdq: GraphModule, small_example: tuple[Tensor, ...], small_pictures: np.ndarray,
    torch_logits: Callable[..., np.ndarray], sqnr_db: Sqnr, tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "small.pte"
    record = tmp_path / "record.bin"
    result = convert(small_qdq, small_example, path, options=ExecuTorchOptions(etrecord=record))
    assert result.precision == "int8"
    assert result.details["delegate_calls"] == 1
    assert result.details["slow_path"] == ()
    operators = result.details["operators"]
    in_float = {kind: by for kind, by in operators.counts.items() if set(by) != {"int8"}}
    assert in_float == {"Softmax": {"float32": 1}, "Add": {"int8": 4, "float32": 1}}  # softmax and the bias before it
    assert operators.counts["BatchMatrixMultiply"] == {"int8": 2}
    assert operators.float_islands == ("Add", "Softmax")
    assert (result.details["input_dtype"], result.details["input_range"]) == ("int8", (-128.0, 127.0))
    outputs = run_file(path, (small_pictures.astype(np.int16) - 128).astype(np.int8))
    assert sqnr_db(torch_logits(small_qdq, small_pictures), outputs) > 30
    assert record.stat().st_size > 1000


def test_what_stays_outside_is_named_with_a_reason(tmp_path: Path) -> None:
    class Outside(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cumsum(x.relu(), 1).mean(1) + 1

    path = tmp_path / "m.pte"
    result = convert(Outside().eval(), (torch.zeros(1, 4, 4, 3),), path, options=ExecuTorchOptions())
    outside = {operator.type: operator.reason for operator in result.details["slow_path"]}
    assert outside["cumsum.default"] == "XNNPACK has no kernel for it"
    assert "innermost dimensions" in outside["mean.dim"]
    assert result.details["delegate_calls"] == 2
    assert result.total_nodes - result.delegated_nodes == len(result.details["slow_path"]) == 2


def test_a_failed_or_interrupted_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.pte"
    model, example = nn.Sequential(nn.Conv2d(4, 3, 1)).eval(), (torch.zeros(1, 4, 4, 3),)

    def fail(error: BaseException) -> Callable[..., None]:
        def check(written: Path, *_: object) -> None:
            assert written.stat().st_size > 0  # the file is there, under another name
            raise error

        return check

    for error, seen in (
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError("the .pte does not compute its graph"), RuntimeError),
        (OSError(errno.ENOSPC, "No space left on device"), ValueError),
    ):
        monkeypatch.setattr(to_executorch, "_check", fail(error))
        with pytest.raises(seen, match="No space left on device; free space" if seen is ValueError else None):
            convert(model, example, path, options=ExecuTorchOptions())
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        run_executorch, "load_all", lambda path, threads: lambda array: (np.ones((1, 2, 2, 2), np.float32),)
    )
    with pytest.raises(RuntimeError, match=r"the \.pte does not compute its graph: .* dB, expected 60 or more"):
        convert(nn.Conv2d(4, 2, 1).eval(), (torch.zeros(1, 4, 2, 2),), tmp_path / "m.pte", options=ExecuTorchOptions())
    assert list(tmp_path.iterdir()) == []


def test_errors_before_lowering(
    small_model: nn.Module, small_example: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="the model is in training mode"):
        convert(small_model.train(), small_example, tmp_path / "m.pte", options=ExecuTorchOptions())
    monkeypatch.setitem(sys.modules, "executorch.exir", None)
    with pytest.raises(ImportError, match=r"executorch is not installed .*pip install 'edge_vit\[executorch\]'"):
        convert(small_model.eval(), small_example, tmp_path / "m.pte", options=ExecuTorchOptions())
    assert list(tmp_path.iterdir()) == []


def test_an_operator_without_a_lowering_is_named(tmp_path: Path) -> None:
    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvalsh(x)

    with pytest.raises(ValueError, match=r"executorch has no lowering for this model: .*eigh"):
        convert(Unknown().eval(), (torch.zeros(1, 4, 4),), tmp_path / "m.pte", options=ExecuTorchOptions())
    assert list(tmp_path.iterdir()) == []


def test_the_runner_names_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bad.pte"
    path.write_bytes(b"not a program" * 10)
    with pytest.raises(ValueError, match=r"bad\.pte: no ExecuTorch program, or a damaged one; convert again"):
        run_executorch.load(path, 1)
    path.write_bytes(b"\0\0\0\0ET12" + b"not a program" * 10)
    with pytest.raises(ValueError, match=r"bad\.pte: ExecuTorch cannot load it"):
        run_executorch.load(path, 1)
    monkeypatch.setitem(sys.modules, "executorch.runtime", None)
    with pytest.raises(ImportError, match=r"pip install 'edge_vit\[executorch\]'"):
        run_executorch.load(path, 1)


def test_a_damaged_program_never_takes_the_process_with_it(
    small_model: nn.Module, small_example: tuple[Tensor, ...], tmp_path: Path
) -> None:
    path = tmp_path / "small.pte"
    convert(small_model, small_example, path, options=ExecuTorchOptions())
    whole, seen = path.read_bytes(), Counter[str]()
    delegate = whole.index(b"XH00")
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in generator.integers(delegate, min(len(whole), delegate + 4000), 6):
            damaged[at] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        try:
            run_executorch.load(path, 1)
        except ValueError as e:
            seen["crash" if "crashes while it loads this file" in str(e) else "refused"] += 1
    assert seen["crash"] > 0 and seen["refused"] > 0


def test_turns_that_undo_each_other_are_cancelled() -> None:
    @dataclass
    class XNNStaticTranspose:
        input_id: int
        output_id: int
        perm: list[int]

    @dataclass
    class XNNAdd:
        input1_id: int
        input2_id: int
        output_id: int

    def graph(*nodes: object) -> SimpleNamespace:
        return SimpleNamespace(xnodes=[SimpleNamespace(xnode_union=node) for node in nodes], output_ids=[9])

    there, back, add = XNNStaticTranspose(0, 1, [0, 3, 1, 2]), XNNStaticTranspose(1, 2, [0, 2, 3, 1]), XNNAdd(2, 2, 9)
    small = graph(there, back, add)
    assert cancel_turns_(small) == 1
    assert [node.xnode_union for node in small.xnodes] == [XNNAdd(0, 0, 9)]
    other = graph(XNNStaticTranspose(0, 1, [0, 3, 1, 2]), XNNStaticTranspose(1, 2, [0, 3, 1, 2]), XNNAdd(2, 2, 9))
    assert cancel_turns_(other) == 0 and len(other.xnodes) == 3
    read_twice = graph(XNNStaticTranspose(0, 1, [0, 2, 1]), XNNStaticTranspose(1, 2, [0, 2, 1]), XNNAdd(1, 2, 9))
    assert cancel_turns_(read_twice) == 1
    assert [node.xnode_union for node in read_twice.xnodes] == [XNNStaticTranspose(0, 1, [0, 2, 1]), XNNAdd(1, 0, 9)]
    last = graph(XNNStaticTranspose(0, 1, [0, 2, 1]), XNNStaticTranspose(1, 9, [0, 2, 1]))
    assert cancel_turns_(last) == 0
    idle = graph(XNNStaticTranspose(0, 1, [0, 1, 2]), XNNAdd(1, 1, 9))
    assert cancel_turns_(idle) == 1 and [node.xnode_union for node in idle.xnodes] == [XNNAdd(0, 0, 9)]


class Heads(nn.Module):
    """Two matrix products of which XNNPACK must pack the second factors, and one that reads a turned factor twice."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(1, 12, 4, 6)
        heads = tokens.transpose(1, 2).reshape(4, 12, 6)
        scores = torch.bmm(heads, tokens.permute(0, 2, 3, 1).reshape(4, 6, 12))
        mixed = torch.bmm(scores, heads)
        turned = mixed.transpose(1, 2)
        return torch.bmm(mixed, turned).mean((1, 2), keepdim=True) + turned.reshape(1, 4, 72)[:, :, :1].reshape(4, 1, 1)


def test_second_factors_are_packed_along_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch_logits: Callable[..., np.ndarray]
) -> None:
    seen: list[tuple[int, list[int]]] = []

    def spy(graph: Any) -> int:
        changed = pack_along_rows_(graph)
        dims = {t.id_out: list(t.dims) for t in (getattr(v.xvalue_union, "tensor_value", v.xvalue_union)
                                                 for v in graph.xvalues)}  # fmt: skip
        products = [n.xnode_union for n in graph.xnodes if type(n.xnode_union).__name__ == "XNNBatchMatrixMultiply"]
        seen.extend((product.flags, dims[product.input2_id]) for product in products)
        assert changed == sum(product.flags for product in products)
        return changed

    monkeypatch.setattr(xnnpack_graph, "pack_along_rows_", spy)
    path, images = tmp_path / "m.pte", np.arange(288, dtype=np.uint8).reshape(1, 12, 8, 3)
    model = Heads().eval()
    convert(model, (torch.zeros(1, 12, 8, 3),), path, options=ExecuTorchOptions())
    assert seen == [(1, [4, 12, 6]), (0, [4, 12, 6]), (0, [4, 6, 12])]  # heads, and turned, are read elsewhere too
    outputs = run_file(path, images.astype(np.float32))
    assert np.allclose(outputs, torch_logits(model, images), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("is_int8", [False, True])
def test_levit_128s_is_at_most_two_delegate_calls(is_int8: bool, tmp_path: Path) -> None:
    import edge_vit
    from edge_vit.layers.pixel_input import PixelInput
    from edge_vit.quantization.graph import export_graph
    from edge_vit.quantization.plan import make_plan
    from edge_vit.quantization.ptq import calibrate
    from edge_vit.quantization.quantizer import quantize_graph

    torch.manual_seed(0)
    net = edge_vit.create_model("levit_128s", num_classes=10).eval()
    model: nn.Module = PixelInput(edge_vit.fuse(net), 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    example = torch.randint(0, 256, (1, 224, 224, 3)).float()
    if is_int8:
        graph = export_graph(model, example)
        plan = make_plan(graph)
        model = quantize_graph(graph, plan, calibrate(graph, plan, [example]))
    result = convert(model, (example,), tmp_path / "m.pte", options=ExecuTorchOptions())
    assert result.details["delegate_calls"] <= 2
    assert result.details["slow_path"] == ()


@pytest.mark.parametrize(("backend", "precision"), [("coreml", "fp16"), ("vulkan", "float32")])
def test_other_delegates_take_float_graphs(
    backend: str, precision: str, small_model: nn.Module, small_example: tuple[Tensor, ...], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if backend == "coreml":
        pytest.importorskip("coremltools")
    options: Any = ExecuTorchOptions(backend=backend, facts={"model": "small"})  # type: ignore[arg-type]
    result = convert(small_model, small_example, tmp_path / "m.pte", options=options)
    operators = result.details["operators"]
    convolutions = [counts for kind, counts in operators.counts.items() if kind.startswith("conv")]
    assert convolutions == [{precision: 2}] and operators.counts["bmm.default"] == {precision: 2}
    assert result.details["delegate_calls"] == 1 and result.details["slow_path"] == ()
    assert b"small" in (tmp_path / "m.pte").read_bytes() and "INFO" not in capfd.readouterr().err


def test_other_delegates_take_no_integers(
    small_qdq: GraphModule, small_example: tuple[Tensor, ...], tmp_path: Path
) -> None:
    options = ExecuTorchOptions(backend="vulkan")
    with pytest.raises(ValueError, match="a quantized graph goes through xnnpack; vulkan takes float ones"):
        convert(small_qdq, small_example, tmp_path / "m.pte", options=options)
    assert not list(tmp_path.iterdir())
