"""Compare a written artefact with the torch model it came from, on pictures."""

import numpy as np

from converters.manifest import Verification, storable_db
from converters.sqnr import sqnr_db

# An artefact computes what its graph says up to the rounding of its kernels. Below these the two are not the same
# function: a fault of the conversion, not of the quantization.
MIN_SQNR_TO_GRAPH_DB = {"fp32": 60.0, "fp16": 35.0, "int8": 20.0, "int16": 35.0}
# Where noise of that size is the graph's own: how much more the file may have, and when there is too much to judge by.
MAX_EXTRA_NOISE_DB, MIN_JUDGEABLE_DB = 1.5, 8.0
# Noise leaves the size of outputs as it is. A scale that is wrong by this much hides among an int8 file's noise.
MAX_GAIN_ERROR = 0.05
# A network that quantization itself leaves little of, as one hardly trained, is judged by this: the file may part from
# its graph by so much less than the graph parts from the float model.
MIN_BELOW_QUANTIZATION_DB, MIN_OF_LITTLE_DB = 6.0, 12.0
# The smallest normal number of fp16: probabilities below it count as it.
MIN_PROBABILITY = 2**-14


def check_outputs(
    outputs: np.ndarray, expected: np.ndarray, floats: np.ndarray, data: str, precision: str
) -> tuple[Verification, float]:
    """Compare what a file, the graph it was lowered from and the float model say to the same pictures.

    Args:
        outputs: What the file gives: logits, (N, classes), or a map, (N, C, H, W). `expected` is
            its graph's, `floats` the float model's.
        data: What the pictures are.
        precision: "fp32", "fp16" or "int8".

    Returns:
        The file against the float model, and its signal-to-noise ratio against its own graph in dB.

    Raises:
        RuntimeError: If the file does not compute its graph.
    """
    to_graph = sqnr_db(expected, outputs)
    gain = float(np.linalg.norm(outputs) / max(np.linalg.norm(expected), 1e-30))
    if to_graph >= MIN_SQNR_TO_GRAPH_DB[precision] and abs(gain - 1.0) > MAX_GAIN_ERROR:
        raise RuntimeError(
            f"the written file does not compute its graph: its outputs are {gain:.3f} times the graph's on {data}, at "
            f"most {MAX_GAIN_ERROR:.0%} off expected; nothing was kept, please report the model and versions"
        )
    if not (to_graph >= MIN_SQNR_TO_GRAPH_DB[precision] or _is_as_good(outputs, expected, floats, precision)):
        raise RuntimeError(
            f"the written file does not compute its graph: {to_graph:.1f} dB on {data}, at least "
            f"{MIN_SQNR_TO_GRAPH_DB[precision]:.0f} dB expected; nothing was kept, please report the model and versions"
        )
    agreement = None if outputs.ndim > 2 else round(float((outputs.argmax(1) == floats.argmax(1)).mean()), 4)
    verification = Verification(
        sqnr_db=round(storable_db(sqnr_db(floats, outputs)), 2),
        top1_agreement=agreement,
        num_images=len(outputs),
        data=data,
    )
    return verification, to_graph


def check_probabilities(
    outputs: np.ndarray, expected: np.ndarray, floats: np.ndarray, data: str, precision: str
) -> tuple[Verification, float]:
    """Compare probabilities, (N, classes), by the logits that they tell.

    A softmax leaves nothing of the noise of sure answers and enlarges that of an unsure one, so that one picture
    between two classes would outweigh all others.

    Args, Returns, Raises: As `check_outputs`.
    """
    worst = float(np.abs(outputs.sum(axis=1) - 1.0).max())
    if not worst <= MAX_GAIN_ERROR:
        raise RuntimeError(
            f"the written file does not compute its graph: its probabilities add up to 1 but for {worst:.3f} on "
            f"{data}, at most {MAX_GAIN_ERROR} off expected; nothing was kept, please report the model and versions"
        )
    # Where the softmax is quantized, the first step of its grid is the least that it tells from nothing.
    least = max(MIN_PROBABILITY, float(expected[expected > 0].min(initial=1.0)))

    def logits(probabilities: np.ndarray) -> np.ndarray:
        logs = np.log(np.maximum(probabilities.astype(np.float64), least))
        return np.asarray(logs - logs.mean(axis=1, keepdims=True))

    return check_outputs(logits(outputs), logits(expected), logits(floats), data, precision)


def _is_as_good(outputs: np.ndarray, expected: np.ndarray, floats: np.ndarray, precision: str) -> bool:
    """Tell whether an int8 file is as close to the float model as its graph is.

    Where a network amplifies noise, as deep ones with random weights do, file and graph part after a few rounding
    differences: each then carries noise of its own, but as much of it as the other. Where quantization leaves little of
    a network, the file must follow what is left.
    """
    graph_db = sqnr_db(floats, expected)
    if precision != "int8":
        return False
    to_graph = sqnr_db(expected, outputs)
    is_small = to_graph >= max(MIN_OF_LITTLE_DB, graph_db + MIN_BELOW_QUANTIZATION_DB)
    return is_small or (graph_db >= MIN_JUDGEABLE_DB and sqnr_db(floats, outputs) >= graph_db - MAX_EXTRA_NOISE_DB)
