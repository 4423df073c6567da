import pytest

from edge_vit.emulation.attribution import (
    MARK_BEGIN,
    MARK_CLOCK,
    MARK_END,
    attribute,
    match_kinds,
    possible_kinds,
    profiler_spans,
)


def event(name: str, kind: int, start: int, steps: int, node: int = 0) -> dict:
    return {"name": name, "type": kind, "start_us": start * 1000, "elapsed_us": steps * 1000, "node": node}


def test_attributes_builtin_and_delegated_operators() -> None:
    # Calls of the clock: 1 Invoke begins, 2 delegated part begins, 3 and 4 after its operators, 5 and 6 around a
    # builtin one, 7 a second delegated part begins, 8 after its operator, 9 Invoke ends.
    counts = [10, 20, 120, 150, 160, 460, 465, 470, 480]
    marks = [(MARK_BEGIN, 5), *((MARK_CLOCK, c) for c in counts), (MARK_END, 490)]
    events = [
        event("Invoke", 1, 1, 8),
        event("Convolution (NHWC, QC8) IGEMM", 8, 0, 1, node=0),
        event("Convert (NC, QS8, F32)", 8, 0, 1, node=1),
        event("SOFTMAX", 2, 5, 1, node=3),
        event("Add (ND)", 8, 0, 1, node=0),
        event("Invoke", 32, 0, 4294967),
    ]
    operators = ["CONV_2D", "DEQUANTIZE", "SOFTMAX", "ADD"]
    profile = attribute(marks, profiler_spans(events), total=440, model_operators=operators)
    assert [(o.kind, o.kernel, o.instructions) for o in profile.operators] == [
        ("CONV_2D", "Convolution (NHWC, QC8) IGEMM", 100),
        ("DEQUANTIZE", "Convert (NC, QS8, F32)", 30),
        ("SOFTMAX", "builtin", 300),
        ("ADD", "Add (ND)", 5),
    ]
    assert profile.total == 440 and profile.overhead == 5


def test_refuses_events_that_lie_beyond_the_marks() -> None:
    with pytest.raises(ValueError, match=r"do not fit the marks at SOFTMAX; another release\?"):
        marks = [(MARK_BEGIN, 0), (MARK_CLOCK, 1)]
        attribute(marks, profiler_spans([event("SOFTMAX", 2, 5, 1)]), total=1, model_operators=[])


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("Convolution (NHWC, QC8) DWConv", "DEPTHWISE_CONV_2D"),
        ("Convolution (NHWC, F32) GEMM", "CONV_2D"),
        ("Fully Connected (NC, QS8, QC8W) GEMM", "FULLY_CONNECTED"),
        ("Batch Matrix Multiply (NC, QD8, F32, QC8W)", "BATCH_MATMUL"),
        ("Something New (NC)", "Something New"),
    ],
)
def test_names_the_tflite_operator(kernel: str, kind: str) -> None:
    assert possible_kinds(kernel) == (kind,)


def test_vague_names_follow_the_model() -> None:
    executed = [
        ("Convert (NC)", True),
        ("Convolution (NHWC, QC8) IGEMM", True),
        ("Invalid Unary Op", True),
        ("Static Reshape (NC)", True),
        ("Copy (NC)", True),  # of XNNPACK's own making: the model has nothing like it there
        ("SOFTMAX", False),
        ("Convert (NC)", True),
    ]
    model = ["QUANTIZE", "CONV_2D", "HARD_SWISH", "SQUEEZE", "TRANSPOSE", "SOFTMAX", "DEQUANTIZE"]
    kinds = ["QUANTIZE", "CONV_2D", "HARD_SWISH", "SQUEEZE", "RESHAPE", "SOFTMAX", "DEQUANTIZE"]
    assert match_kinds(executed, model) == kinds
    assert match_kinds(executed, [])[0] == "DEQUANTIZE"  # of a constant


def test_reading_the_clock_is_not_counted() -> None:
    # 7 for the clock, as the two calls in a row before the inference show.
    counts = [100, 107, 120, 130, 237, 250]
    marks = [*((MARK_CLOCK, c) for c in counts[:2]), (MARK_BEGIN, 110), *((MARK_CLOCK, c) for c in counts[2:])]
    events = [event("Invoke", 1, 3, 3), event("SOFTMAX", 2, 4, 1)]
    (softmax,) = attribute(marks, profiler_spans(events), total=105, model_operators=["SOFTMAX"]).operators
    assert softmax.instructions == 100
