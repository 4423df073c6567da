"""Every format carries one network, in float and in int8: delegated whole, equal integers, equal numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
from lowered import Lowered
from torch import nn

from edge_vit.quantization.pipeline import run_pixels

pytestmark = [
    pytest.mark.needs_tflite,
    pytest.mark.needs_executorch,
    pytest.mark.needs_coreml,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),  # inside the SDKs
]
TARGETS = ("tflite", "executorch", "coreml", pytest.param("onnx", marks=pytest.mark.needs_onnx))


@pytest.fixture
def small(small_model: nn.Module) -> Lowered:
    return Lowered.from_module(small_model, 16)


@pytest.mark.parametrize(("target", "db"), [("tflite", 100.0), ("executorch", 90.0)])
def test_float(target: str, db: float, small: Lowered, tmp_path: Path) -> None:
    small.to(target, tmp_path).outside(0).runs().agrees(db=db)


def test_float_coreml(small: Lowered, tmp_path: Path) -> None:
    small.to("coreml", tmp_path).outside(0).runs().agrees(db=90.0)


@pytest.mark.parametrize(("target", "db"), [("tflite", 30.0), ("executorch", 30.0), ("coreml", 25.0)])
def test_int8(target: str, db: float, small: Lowered, tmp_path: Path) -> None:
    small.int8().to(target, tmp_path).outside(0).same_integers().runs().agrees(db=db)


def test_softmax_stays_float_and_products_do_not(small: Lowered, tmp_path: Path) -> None:
    int8 = small.int8()
    int8.to("tflite", tmp_path).operators(SOFTMAX={"float32": 1}, BATCH_MATMUL={"int8": 2}, CONV_2D={"int8": 2})
    int8.to("executorch", tmp_path).delegate_calls(1).operators(Softmax={"float32": 1}, BatchMatrixMultiply={"int8": 2})
    int8.to("coreml", tmp_path).operators(softmax={"fp16": 1}, matmul={"int8": 2}, conv={"int8": 2})


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("name", "resolution"), [("levit_128s", 64), ("efficientvit_m0", 64), ("fastervit_edge_0", 64)]
)
def test_one_variant_a_family(name: str, resolution: int, target: str, tmp_path: Path) -> None:
    Lowered.from_variant(name, resolution).int8().to(target, tmp_path).outside(0).same_integers().runs().agrees(db=20)


def test_the_chain_fails_where_it_should(small: Lowered, tmp_path: Path) -> None:
    written = small.int8().to("tflite", tmp_path)
    with pytest.raises(AssertionError):
        written.outside(1)
    with pytest.raises(AssertionError):
        written.operators(SOFTMAX={"int8": 1})
    with pytest.raises(AssertionError, match=r"call runs\(\) first"):
        written.agrees(db=1)
    noisy = replace(written.runs(), outputs=run_pixels(written.module, written.pictures) + 1.0)
    with pytest.raises(AssertionError, match="dB"):
        noisy.agrees(db=30)
