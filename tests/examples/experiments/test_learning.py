"""Placement, whitening, learning rates and the convolutional network: what the quick runs show, and findings that turn
around with the numbers."""

import signal

import numpy as np
import pytest

import tinygraph as tg
from examples.experiments import convnet, learning_rates, placement, whitening
from examples.experiments.common import main

# -- learning_rates ------------------------------------------------------------------------------------


def test_batch_norm_allows_a_higher_rate(quick):
    numbers = quick("learning_rates")
    without = learning_rates.highest(numbers, "without")
    assert without is not None
    assert learning_rates.highest(numbers, "with") >= 3 * without


def test_a_rate_that_is_too_high_is_recorded_as_diverged(quick):
    *_, last = quick("learning_rates")["rates"].values()
    assert last["without"] == [{"loss": None, "accuracy": None}]


def test_the_finding_on_rates_turns_around(quick):
    numbers = quick("learning_rates")
    assert "with it, 10 times as high" in learning_rates.finding(numbers)
    for found in numbers["rates"].values():
        found["with"], found["without"] = found["without"], found["with"]
    assert "with it, 0.1 times as high" in learning_rates.finding(numbers)


def test_a_network_that_never_learns_has_no_highest_rate(quick):
    numbers = quick("learning_rates")
    for found in numbers["rates"].values():
        found["with"][0]["accuracy"] = 0.89
    assert learning_rates.highest(numbers, "with") is None
    assert learning_rates.finding(numbers).endswith("none of those tried with it")


# -- placement -----------------------------------------------------------------------------------------


def test_after_relu_the_statistics_move_more_and_the_loss_falls_faster(quick):
    numbers = quick("placement")
    before, after = placement.first_drifts(numbers, "relu")
    assert after > 2 * before
    assert all(after[-1] < before[-1] for before, after in placement.pairs(numbers, "loss"))


def test_after_sigmoid_they_move_less(quick):
    before, after = placement.first_drifts(quick("placement"), "sigmoid")
    assert after < before


def test_the_finding_on_placement_counts_what_is_there(quick):
    numbers = quick("placement")
    assert "lower there in 2 of 2 runs" in placement.finding(numbers)
    runs = numbers["runs"]
    for name in numbers["activations"]:
        runs[f"{name} before"], runs[f"{name} after"] = runs[f"{name} after"], runs[f"{name} before"]
    assert "lower there in 0 of 2 runs" in placement.finding(numbers)


def test_drift_is_the_average_move_in_standard_deviations():
    before = [(np.array([0.0, 1.0]), np.array([1.0, 2.0]))]
    after = [(np.array([3.0, 0.0]), np.array([9.0, 9.0]))]
    assert placement.drift(before, after) == (3 / 1 + 1 / 2) / 2


# -- whitening -----------------------------------------------------------------------------------------


def test_every_preparation_does_what_it_is_called(rng):
    x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + [5, -3, 1]
    raw, centred, standardised, decorrelated, whitened = (whitening.prepare(x, kind) for kind in whitening.PREPARATIONS)
    assert raw is x
    for prepared in (centred, standardised, decorrelated, whitened):
        np.testing.assert_allclose(prepared.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(standardised.std(0), 1)
    variances = decorrelated.var(0)
    np.testing.assert_allclose(np.cov(decorrelated.T, bias=True), np.diag(variances), atol=1e-12)
    np.testing.assert_allclose(np.sort(variances)[::-1], variances)
    np.testing.assert_allclose(variances.sum(), x.var(0).sum())
    unit = np.diag(variances / (variances + 1e-3 * variances[0]))
    np.testing.assert_allclose(np.cov(whitened.T, bias=True), unit, atol=1e-12)


def test_constant_pixels_stay_finite():
    x = np.array([[1.0, 2.0], [1.0, 4.0], [1.0, 9.0]])
    assert all(np.isfinite(whitening.prepare(x, kind)).all() for kind in whitening.PREPARATIONS)


@pytest.mark.parametrize("model", whitening.MODELS)
def test_centring_and_unit_variance_help(quick, model):
    centring, _, unit_variance = whitening.gains(quick("whitening"), model)
    assert centring > 1.5
    assert unit_variance > 1.5


def test_gradient_descent_does_not_see_a_rotation(quick):
    _, decorrelating, _ = whitening.gains(quick("whitening"), "softmax regression")
    assert 0.9 < decorrelating < 1.1


def test_the_finding_on_whitening_turns_around(quick):
    numbers = quick("whitening")
    runs = numbers["runs"]
    for model in whitening.MODELS:
        for kind, loss in zip(("raw", "centred", "decorrelated", "whitened"), (1, 4, 2, 8), strict=True):
            runs[f"{model} {kind}"]["loss"] = [loss, loss]
    assert "softmax regression by 0.25, 2, 0.25; of one hidden layer by 0.25, 2, 0.25" in whitening.finding(numbers)


def test_a_rate_that_diverges_is_not_the_best():
    data = tg.data.Dataset(x=np.eye(10) * 1e3, y=np.arange(10))
    assert whitening.curve(whitening.Settings("whitening"), data, [5], 1e200, [0], 2).tolist() == [np.inf, np.inf]


# -- convnet -------------------------------------------------------------------------------------------


def test_the_convolutional_network_learns(quick):
    accuracy = quick("convnet")["accuracy"]
    assert accuracy["population"] >= 0.9
    assert abs(accuracy["running"] - accuracy["population"]) < 0.03


def test_statistics_are_per_channel(quick):
    numbers = quick("convnet")
    for kind in ("running", "population"):
        shapes = {place: {len(values) for values in layer.values()} for place, layer in numbers[kind].items()}
        assert shapes == {"block1.bn": {16}, "block2.bn": {32}}
    assert np.shape(numbers["filters"]) == (16, 1, 3, 3)
    for place, running in numbers["running"].items():
        assert convnet.apart(running, numbers["population"][place], "mean") < 0.5


def test_they_are_taken_over_batch_height_and_width(rng):
    images = rng.random((12, 3, 8, 8))
    model = convnet.network(3, 8, seed=0)
    tg.nn.population_statistics(model, [images[:5], images[5:]])
    found = convnet.statistics(model)["block1.bn"]
    maps = model["block1"]["conv"](images).numpy()
    np.testing.assert_allclose(found["mean"], maps.mean(axis=(0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(found["std"], np.sqrt(maps.var(axis=(0, 2, 3), ddof=1) + 1e-5), atol=1e-4)


def test_the_finding_on_statistics_turns_around(quick):
    numbers = quick("convnet")
    population = numbers["population"]["block2.bn"]
    numbers["accuracy"] = {"population": 0.5, "running": 0.25}
    numbers["running"]["block2.bn"]["mean"][3] = population["mean"][3] - 7 * population["std"][3]
    found = convnet.finding(numbers)
    assert "50.0% of the test images" in found
    assert "25.0% with running ones" in found
    assert "off by 7 standard deviations" in found


def test_a_stopped_run_goes_on_and_is_the_same(quick, tmp_path, monkeypatch):
    calls = 0

    def stop(outputs, targets):
        nonlocal calls
        calls += 1
        if calls == 40:
            signal.raise_signal(signal.SIGINT)
        return cross_entropy(outputs, targets)

    cross_entropy = tg.cross_entropy
    command = ["--quick", "--out", str(tmp_path)]
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="goes on where it was"):
        patch.setattr(tg, "cross_entropy", stop)
        main(convnet.EXPERIMENT, command)
    assert [file.name for file in tmp_path.iterdir()] == ["convnet-digits-0-quick.partial.safetensors"]
    assert main(convnet.EXPERIMENT, command) == quick("convnet")
    assert {file.name for file in tmp_path.iterdir()} == {"convnet.json", "convnet.png"}
