"""Attribute the instructions of one emulated inference to the operators that executed them."""

from collections.abc import Sequence
from dataclasses import dataclass

# Codes of the marks, as in litert_runner.c.
MARK_CLOCK, MARK_BEGIN, MARK_END = 1, 2, 3
# LiteRtProfilerEventType: an operator of the interpreter, and one inside a delegate.
OPERATOR_EVENT, DELEGATE_EVENT = 2, 8
CLOCK_STEP_US = 1000  # the runner's clock moves on by this at each call, see litert_runner.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator of one inference, in the order of execution.

    `kind` is the TFLite operator, `kernel` what executed it: XNNPACK's name, or "builtin" for LiteRT's own kernel.
    """

    kind: str
    kernel: str
    instructions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where the instructions of one inference go; `overhead` is what lies between the operators."""

    operators: tuple[Operator, ...]
    overhead: int
    total: int


def attribute(marks: Sequence[tuple[int, int]], events: Sequence[dict], total: int) -> Profile:
    """Attribute one profiled inference's instructions to operators.

    The n-th call of the runner's clock returned n milliseconds and left a mark with the count of instructions. So the
    times of the profiler's events are numbers of marks. XNNPACK reads the clock once when a delegated part begins and
    once after each of its operators, and reports only how long each took.

    Args:
        marks: The run's marks, code and count.
        events: The profiler's events of its last inference.
        total: Instructions of an inference without profiling: the profiler's own work lies between the operators and
            is left out.

    Raises:
        ValueError: If events and marks do not fit together.
    """
    at = [0] + [count for code, count in marks if code == MARK_CLOCK]
    operators: list[Operator] = []
    cursor = next((e["start_us"] // CLOCK_STEP_US for e in events if e["name"] == "Invoke"), 0)
    for event in events:
        steps = event["elapsed_us"] // CLOCK_STEP_US
        if event["type"] == OPERATOR_EVENT:
            start, kernel, kind = event["start_us"] // CLOCK_STEP_US, "builtin", event["name"]
        elif event["type"] == DELEGATE_EVENT:
            # Operator 0 of a delegated part: the part's own first clock call comes before it.
            start, kernel, kind = cursor + (event["node"] == 0), event["name"], operator_kind(event["name"])
        else:
            continue
        cursor = start + steps
        if cursor >= len(at):
            raise ValueError(f"the profiler's events do not fit the marks at {event['name']}; another LiteRT version?")
        operators.append(Operator(kind=kind, kernel=kernel, instructions=at[cursor] - at[start]))
    overhead = total - sum(o.instructions for o in operators)
    return Profile(operators=tuple(operators), overhead=overhead, total=total)


# XNNPACK's operator names, up to the bracket, and the TFLite operator that becomes them.
_KINDS = {
    "Add": "ADD",
    "Argmax Pooling": "ARG_MAX",
    "Average Pooling": "AVERAGE_POOL_2D",
    "Batch Matrix Multiply": "BATCH_MATMUL",
    "Clamp": "RELU",
    "Concatenate": "CONCATENATION",
    "Constant Pad": "PAD",
    "Convolution": "CONV_2D",
    "Copy": "RESHAPE",
    "Deconvolution": "TRANSPOSE_CONV",
    "Depth To Space": "DEPTH_TO_SPACE",
    "Divide": "DIV",
    "Dynamic Fully Connected": "FULLY_CONNECTED",
    "ELU": "ELU",
    "Fully Connected": "FULLY_CONNECTED",
    "GELU": "GELU",
    "Global Average Pooling": "MEAN",
    "HardSwish": "HARD_SWISH",
    "Leaky ReLU": "LEAKY_RELU",
    "Max Pooling": "MAX_POOL_2D",
    "Maximum": "MAXIMUM",
    "Mean": "MEAN",
    "Minimum": "MINIMUM",
    "Multiply": "MUL",
    "Reciprocal Square Root": "RSQRT",
    "Resize Bilinear": "RESIZE_BILINEAR",
    "Sigmoid": "LOGISTIC",
    "Slice": "SLICE",
    "Softmax": "SOFTMAX",
    "Square Root": "SQRT",
    "Static Reshape": "RESHAPE",
    "Subtract": "SUB",
    "Sum": "SUM",
    "Tanh": "TANH",
    "Transpose": "TRANSPOSE",
}


def operator_kind(kernel: str) -> str:
    """Return the TFLite operator behind one of XNNPACK's, whose own name stands when it is not known here."""
    name = kernel.split(" (")[0]
    if name == "Convolution" and "DWConv" in kernel:
        return "DEPTHWISE_CONV_2D"
    if name == "Convert":
        types = kernel[kernel.find("(") + 1 : kernel.find(")")].split(", ")[1:]
        return "QUANTIZE" if types[:1] in (["F32"], ["F16"]) else "DEQUANTIZE" if types[-1:] == ["F32"] else "QUANTIZE"
    return _KINDS.get(name, name)
