"""Verification lets rounding pass and nothing else: each fault that a conversion could have is planted and caught."""

import numpy as np
import pytest

from edge_vit.deployment.verify import MAX_EXTRA_NOISE_DB, check_outputs, check_probabilities

GENERATOR = np.random.default_rng(0)
FLOATS = GENERATOR.normal(0, 3, (32, 10)).astype(np.float32)
GRAPH = FLOATS + GENERATOR.normal(0, 0.2, FLOATS.shape).astype(np.float32)  # 23 dB, as a trained int8 network
GRID = 0.1


def with_noise(logits: np.ndarray, db: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 1, logits.shape)
    return logits + noise * np.sqrt(np.square(logits).sum() / np.square(noise).sum() / 10 ** (db / 10))


def test_rounding_passes_and_is_measured() -> None:
    outputs = np.round(GRAPH / GRID) * GRID
    verification, to_graph = check_outputs(outputs, GRAPH, FLOATS, "32 drawn pictures", "int8")
    assert 38 < to_graph < 42 and 22 < verification.sqnr_db < 24
    assert verification.top1_agreement == (outputs.argmax(1) == FLOATS.argmax(1)).mean()
    assert (verification.num_images, verification.data) == (32, "32 drawn pictures")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(
    "fault",
    [
        lambda x: 1.09 * x,  # a scale that is wrong by 9%
        lambda x: 0.91 * x,
        lambda x: x + 0.5,  # a zero point or a bias that is off
        lambda x: x[:, ::-1],  # classes in another order
        lambda x: np.clip(x, -3, 3),  # a range that saturates
        lambda x: np.zeros_like(x),
        lambda x: np.full_like(x, np.nan),
        lambda x: x[::-1],  # another picture's answers
    ],
)
def test_faults_are_refused(fault, precision: str) -> None:
    expected = FLOATS if precision != "int8" else GRAPH
    with pytest.raises(RuntimeError, match="the written file does not compute its graph: "):
        check_outputs(fault(expected), expected, FLOATS, "pictures", precision)


@pytest.mark.parametrize(("precision", "least_db"), [("fp32", 60), ("fp16", 35)])
def test_limits_of_float_files(precision: str, least_db: float) -> None:
    check_outputs(with_noise(FLOATS, least_db + 1), FLOATS, FLOATS, "pictures", precision)
    with pytest.raises(RuntimeError, match=f"at least {least_db} dB expected"):
        check_outputs(with_noise(FLOATS, least_db - 1), FLOATS, FLOATS, "pictures", precision)


def test_a_network_that_amplifies_noise_may_part_from_its_graph() -> None:
    graph, file = with_noise(FLOATS, 15), FLOATS + (FLOATS - with_noise(FLOATS, 15))  # as far, in another direction
    check_outputs(file, graph, FLOATS, "pictures", "int8")
    worse = FLOATS + 10 ** ((MAX_EXTRA_NOISE_DB + 0.5) / 20) * (file - FLOATS)
    with pytest.raises(RuntimeError):
        check_outputs(worse, graph, FLOATS, "pictures", "int8")


def test_a_network_that_quantization_leaves_little_of_is_followed() -> None:
    graph = with_noise(FLOATS, 6)
    rest = np.random.default_rng(2).normal(0, 1, FLOATS.shape)
    rest *= np.sqrt(np.square(graph).sum() / np.square(rest).sum())
    check_outputs(graph + rest * 10 ** (-13 / 20), graph, FLOATS, "pictures", "int8")
    with pytest.raises(RuntimeError, match=r"11\.0 dB"):
        check_outputs(graph + rest * 10 ** (-11 / 20), graph, FLOATS, "pictures", "int8")


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_one_unsure_picture_among_sure_ones_is_no_fault() -> None:
    graph = np.array([[9.0, 0, 0], [0, 9, 0], [0, 0, 9], [4.1, 4.0, 0]])
    file = graph + np.array([0.3, -0.3, 0])
    with pytest.raises(RuntimeError, match=r"19\.4 dB on 4 pictures, at least 20 dB expected"):
        check_outputs(softmax(file), softmax(graph), softmax(graph), "4 pictures", "int8")
    _, to_graph = check_probabilities(softmax(file), softmax(graph), softmax(graph), "4 pictures", "int8")
    assert 25.5 < to_graph < 26.5  # as the logits, 25.8


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(
    "fault",
    [
        lambda p: 1.09 * p,
        lambda p: 0.91 * p,
        lambda p: p[:, ::-1],
        lambda p: p[::-1],
        lambda p: np.full_like(p, np.nan),
        lambda p: np.full_like(p, 0.1),
        lambda p: softmax(1.3 * np.log(p)),
    ],
)
def test_faults_of_probabilities_are_refused(fault, precision: str) -> None:
    expected = softmax(FLOATS if precision != "int8" else GRAPH)
    check_probabilities(expected, expected, softmax(FLOATS), "pictures", precision)
    with pytest.raises(RuntimeError, match="the written file does not compute its graph: "):
        check_probabilities(fault(expected), expected, softmax(FLOATS), "pictures", precision)
