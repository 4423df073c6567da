import numpy as np
import pytest

from edge_vit.devices import stats


def test_quantile_is_numpys() -> None:
    samples = np.random.default_rng(0).gamma(2, 3, 101)
    for percent in (0, 5, 50, 90, 99, 100):
        assert stats.quantile(samples.tolist(), percent) == pytest.approx(np.percentile(samples, percent))
    with pytest.raises(ValueError, match="no samples"):
        stats.quantile([], 50)


def test_interval_covers_the_true_quantile_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "RESAMPLES", 300)
    true = np.quantile(np.random.default_rng(9).gamma(4, 1, 1_000_000), [0.5, 0.9])
    hits = np.zeros(2)
    trials = 40
    for seed in range(trials):
        found = stats.quantiles(np.random.default_rng(seed).gamma(4, 1, 300).tolist(), seed)
        hits += [q.low <= t <= q.high for q, t in zip(found[:2], true, strict=True)]
    assert (hits >= 0.85 * trials).all()
    assert (hits < trials).any()  # an interval that always covers says nothing


def test_interval_widens_with_correlated_samples() -> None:
    generator = np.random.default_rng(0)
    calm = 10 + generator.standard_normal(1000)
    slow = np.repeat(10 + generator.standard_normal(25), 40)  # the same spread, in spells of 40
    widths = [(q := stats.quantiles(x.tolist())[0]).high - q.low for x in (calm, slow)]
    assert widths[1] > 2.5 * widths[0]


def test_no_interval_where_samples_are_too_few() -> None:
    found = stats.quantiles([float(i) for i in range(50)])
    assert [q.percent for q in found] == [50, 90, 99]
    assert found[0].low is not None and found[1].low is not None and found[2].low is None
    assert stats.quantiles([5.0])[0].value == 5.0 and stats.quantiles([5.0])[0].low is None


def test_drift_of_a_throttling_run() -> None:
    generator = np.random.default_rng(0)
    level = np.concatenate([np.full(400, 10.0), np.linspace(10, 14, 300), np.full(300, 14.0)])
    found = stats.drift((level + 0.2 * generator.standard_normal(1000)).tolist())
    assert found.relative == pytest.approx(0.4, abs=0.02) and found.is_throttled


def test_a_slow_spell_in_the_middle_is_no_throttling() -> None:
    level = np.full(1000, 10.0)
    level[400:600] = 20
    found = stats.drift(level.tolist())
    assert found.relative == pytest.approx(0) and not found.is_throttled


def test_getting_faster_is_drift_but_no_throttling() -> None:
    found = stats.drift(np.linspace(20, 10, 500).tolist())
    assert found.relative < -0.3 and not found.is_throttled


def test_drift_needs_samples() -> None:
    assert stats.drift([1.0] * 24) is None
    assert stats.drift([1.0] * 25).relative == 0


def test_ratio_of_alternating_rounds() -> None:
    generator = np.random.default_rng(0)
    # The machine slows down by half during the run; both models feel it alike, and the ratio does not.
    pace = np.linspace(1, 1.5, 6)
    a, b = ([(base * p * (1 + 0.02 * generator.standard_normal(80))).tolist() for p in pace] for base in (3.0, 10.0))
    found = stats.ratio(a, b)
    assert found.value == pytest.approx(0.3, rel=0.02)
    assert found.low < 0.3 < found.high and found.high - found.low < 0.02


@pytest.mark.parametrize("is_skewed", [False, True], ids=["normal", "skewed"])
@pytest.mark.parametrize("rounds", [2, 3, 5, 10])
def test_interval_of_a_ratio_covers_the_truth_as_often_as_it_says(rounds: int, is_skewed: bool) -> None:
    """Rounds differ by more than their samples do, and the machine's pace wanders under both models."""
    generator = np.random.default_rng(rounds)
    trials = 1000

    def draw(level: float, pace: np.ndarray) -> list[list[float]]:
        own = generator.gamma(1, 1, rounds) - 1 if is_skewed else generator.standard_normal(rounds)
        samples = generator.standard_normal((rounds, 15))
        return (level * pace[:, None] * np.exp(0.02 * own[:, None] + 0.03 * samples)).tolist()

    hits = 0
    for _ in range(trials):
        pace = np.exp(0.2 * np.cumsum(generator.standard_normal(rounds)))
        found = stats.ratio(draw(4, pace), draw(10, pace))
        hits += found.low <= 0.4 <= found.high
    assert 0.93 <= hits / trials <= 0.99


def test_students_t_is_the_tables() -> None:
    for freedom, expected in ((1, 12.706), (2, 4.303), (4, 2.776), (5, 2.571), (9, 2.262), (29, 2.045), (1000, 1.962)):
        assert stats.student_t(freedom) == pytest.approx(expected, rel=0.002)


def test_ratio_has_an_interval_only_where_rounds_tell_one() -> None:
    assert stats.ratio([[2.0, 2.0]], [[4.0]]).as_dict() == {"value": 0.5, "low": None, "high": None}
    alike = stats.ratio([[2.0], [3.0]], [[4.0], [6.0]])  # to the last digit: a coarse clock, not a sure ratio
    assert alike.value == pytest.approx(0.5) and alike.low is None and alike.high is None
    for a, b in (([[]], [[1.0]]), ([[1.0], [1.0]], [[1.0]]), ([], [])):
        with pytest.raises(ValueError, match="needs samples of both models in every round"):
            stats.ratio(a, b)


def test_curve_is_time_against_median() -> None:
    samples = [1e6] * 30 + [2e6] * 15  # a minute: 30 s at 1 s, 30 s at 2 s
    points = stats.curve(samples, points=6)
    assert [round(t) for t, _ in points] == [5, 15, 25, 35, 45, 55]
    assert [us for _, us in points] == [1e6, 1e6, 1e6, 2e6, 2e6, 2e6]
    assert stats.curve([]) == []
