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


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What ran between two readings of the runner's clock, which count from 1."""

    name: str
    is_delegated: bool
    start: int
    end: int


def profiler_spans(events: Sequence[dict]) -> list[Span]:
    """Return the operators among the events of LiteRT's profiler.

    The n-th call of the runner's clock returned n milliseconds, so the events' times are numbers of calls. XNNPACK
    reads the clock once when a delegated part begins and once after each of its operators, and reports only how long
    each took.
    """
    found: list[Span] = []
    cursor = next((e["start_us"] // CLOCK_STEP_US for e in events if e["name"] == "Invoke"), 0)
    for event in events:
        if event["type"] not in (OPERATOR_EVENT, DELEGATE_EVENT):
            continue
        is_delegated = event["type"] == DELEGATE_EVENT
        # Operator 0 of a delegated part: the part's own first clock call comes before it.
        start = cursor + (event["node"] == 0) if is_delegated else event["start_us"] // CLOCK_STEP_US
        cursor = start + event["elapsed_us"] // CLOCK_STEP_US
        found.append(Span(name=event["name"], is_delegated=is_delegated, start=start, end=cursor))
    return found


def attribute(
    marks: Sequence[tuple[int, int]], spans: Sequence[Span], total: int, model_operators: Sequence[str]
) -> Profile:
    """Attribute one profiled inference's instructions to operators.

    Each call of the runner's clock left a mark with the count of instructions.

    Args:
        marks: The run's marks, code and count.
        spans: What its last inference executed.
        total: Instructions of an inference without profiling: the profiler's own work lies between the operators and
            is left out.
        model_operators: The model's own operators in order, by which those are named that XNNPACK names vaguely.

    Raises:
        ValueError: If spans and marks do not fit together.
    """
    at = [0] + [count for code, count in marks if code == MARK_CLOCK]
    cost = _clock_cost(marks)
    misfit = next((span for span in spans if span.end >= len(at)), None)
    if misfit:
        raise ValueError(f"the profiler's events do not fit the marks at {misfit.name}; another release?")
    kinds = match_kinds([(span.name, span.is_delegated) for span in spans], model_operators)
    operators = tuple(
        Operator(
            kind=kind,
            kernel=span.name if span.is_delegated else "builtin",
            instructions=at[span.end] - at[span.start] - cost * (span.end - span.start),
        )
        for kind, span in zip(kinds, spans, strict=True)
    )
    return Profile(operators=operators, overhead=total - sum(o.instructions for o in operators), total=total)


def _clock_cost(marks: Sequence[tuple[int, int]]) -> int:
    """Return what one reading of the clock executes: the runner reads it twice in a row before the last inference."""
    last = max(i for i, (code, _) in enumerate(marks) if code == MARK_BEGIN)
    before = [count for code, count in marks[:last] if code == MARK_CLOCK]
    return before[-1] - before[-2] if len(before) > 1 else 0


# XNNPACK's operator names, up to the bracket, and the TFLite operator that becomes them.
_KINDS = {
    "Add": "ADD",
    "Argmax Pooling": "ARG_MAX",
    "Average Pooling": "AVERAGE_POOL_2D",
    "Batch Matrix Multiply": "BATCH_MATMUL",
    "Concatenate": "CONCATENATION",
    "Convolution": "CONV_2D",
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
    "Softmax": "SOFTMAX",
    "Square Root": "SQRT",
    "Subtract": "SUB",
    "Sum": "SUM",
    "Tanh": "TANH",
    "Transpose": "TRANSPOSE",
}


# Names of XNNPACK's that fit several operators. A table look-up, such as an int8 hardswish, it calls invalid.
_VAGUE = {
    "Convert": ("DEQUANTIZE", "QUANTIZE"),  # of no operator of the model: a constant is unpacked
    "Invalid Unary Op": (
        *("HARD_SWISH", "LOGISTIC", "TANH", "ELU", "GELU", "RELU", "RELU6", "LEAKY_RELU", "EXP", "RSQRT", "SQRT"),
        *("SQUARE", "ABS", "NEG", "QUANTIZE", "DEQUANTIZE"),
    ),
    "Copy": ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SPLIT", "SPLIT_V", "CONCATENATION"),
    "Static Reshape": ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
    "Clamp": ("RELU", "RELU6", "MINIMUM", "MAXIMUM"),
    "Slice": ("SLICE", "STRIDED_SLICE", "SPLIT"),
    "Constant Pad": ("PAD", "PADV2"),
}


def possible_kinds(kernel: str) -> tuple[str, ...]:
    """Return the TFLite operators that one of XNNPACK's may stand for, or its own name if that is unknown."""
    name = kernel.split(" (")[0]
    if name == "Convolution" and "DWConv" in kernel:
        return ("DEPTHWISE_CONV_2D",)
    return _VAGUE.get(name) or (_KINDS.get(name, name),)


def match_kinds(executed: Sequence[tuple[str, bool]], model_operators: Sequence[str]) -> list[str]:
    """Name what was executed after the model's operators.

    An operator that `match` leaves alone keeps the first kind that its name allows.

    Args:
        executed: Name and whether the delegate executed it; LiteRT's own kernels carry the operator's name already.
        model_operators: The model's operators.
    """
    allowed = [possible_kinds(name) if is_delegated else (name,) for name, is_delegated in executed]
    places = match(allowed, model_operators)
    return [choices[0] if j is None else model_operators[j] for choices, j in zip(allowed, places, strict=True)]


def match(allowed: Sequence[Sequence[str]], model_operators: Sequence[str]) -> list[int | None]:
    """Pair what was executed with the model's operators.

    Both lists are in order of execution; XNNPACK drops and adds a few. Their longest common subsequence pairs them.

    Args:
        allowed: The kinds that each executed operator may be of.
        model_operators: The kinds of the model's operators.

    Returns:
        For each executed operator its place among the model's, None for one left alone.
    """
    rows, columns = len(allowed), len(model_operators)
    longest = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            skipped = max(longest[i + 1][j], longest[i][j + 1])
            paired = longest[i + 1][j + 1] + 1 if model_operators[j] in allowed[i] else 0
            longest[i][j] = max(skipped, paired)
    places: list[int | None] = [None] * rows
    i = j = 0
    while i < rows and j < columns:
        if model_operators[j] in allowed[i] and longest[i][j] == longest[i + 1][j + 1] + 1:
            places[i] = j
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1
    return places
