"""Statistics, gradients, speed and activations: what the quick runs show, and findings that turn around with the numbers."""

import importlib
from itertools import pairwise

import numpy as np
import pytest

for package in ("matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package)

statistics, gradient_check, backward_speed, activations = (
    importlib.import_module(f"examples.experiments.{name}")
    for name in ("statistics", "gradient_check", "backward_speed", "activations")
)

RIGHT = {"derived", "fused", "staged", "closed form"}
GRADIENTS = {"dx", "dgamma", "dbeta"}


# -- statistics ----------------------------------------------------------------------------------------


def test_batch_norm_gives_the_means_and_stds_that_it_is_told(quick):
    before, plain, scaled, test = quick("statistics")["stages"].values()
    assert max(np.abs(before["means"])) > 1
    assert min(before["stds"]) > 10
    np.testing.assert_allclose(plain["means"], 0, atol=1e-12)
    np.testing.assert_allclose(plain["stds"], 1, rtol=1e-6)
    np.testing.assert_allclose(scaled["means"], [11, 12, 13], rtol=1e-12)
    np.testing.assert_allclose(scaled["stds"], [1, 2, 3], rtol=1e-6)
    np.testing.assert_allclose(test["means"], 0, atol=0.4)
    np.testing.assert_allclose(test["stds"], 1, atol=0.3)


def test_the_test_time_output_is_noisier_and_settles_with_the_batches(quick):
    numbers = quick("statistics")
    _, plain, _, test = numbers["stages"].values()
    assert max(np.abs(test["means"])) > 1e6 * max(np.abs(plain["means"]))
    stds = np.array(numbers["path"]["stds"])
    assert stds.shape == (50, 3)
    assert (np.abs(stds[-1] - 1) < 0.2 * np.abs(stds[0] - 1)).all()
    np.testing.assert_allclose(stds[-1], test["stds"], atol=1e-5)


def test_the_histograms_count_every_example(quick):
    for stage in quick("statistics")["stages"].values():
        assert [sum(counts) for counts in stage["counts"]] == [200] * 3


@pytest.mark.parametrize(("stage", "key"), [(1, "means"), (2, "stds"), (3, "stds")])
def test_statistics_that_are_not_as_printed_are_called_so(quick, stage, key):
    numbers = quick("statistics")
    assert statistics.finding(numbers).startswith("as printed")
    list(numbers["stages"].values())[stage][key][0] += 0.7
    assert statistics.finding(numbers).startswith("not as printed")


# -- gradient_check ------------------------------------------------------------------------------------


def test_four_backwards_are_right_by_every_measure(quick):
    backwards = quick("gradient_check")["backwards"]
    for name in RIGHT:
        b = backwards[name]
        assert b["verdict"] == "ok"
        assert b["findings"] == []
        assert set(b["rounding units"]) == GRADIENTS
        assert max(b["central differences"].values()) < 1e-6
        assert max(b["complex step"].values()) < 1e-12
        assert max(b["rounding units"].values()) < 64


def test_the_wrong_sign_is_seen_by_every_measure_and_named(quick):
    b = quick("gradient_check")["backwards"]["class of seed 003"]
    for measure, least in (("central differences", 1e-2), ("complex step", 1e-2), ("rounding units", 1e6)):
        assert b[measure]["dx"] > least
        assert max(b[measure]["dgamma"], b[measure]["dbeta"]) < max(1e-6, 64 * (measure == "rounding units"))
    assert b["verdict"] == "wrong"
    (line,) = b["findings"]
    assert line.startswith("dx: term through mu multiplied by -1")


def test_differences_are_worst_at_very_small_and_very_large_steps(quick):
    for name in RIGHT:
        errors = quick("gradient_check")["dx by step"][name]
        assert errors[0] > 1e3 * min(errors)
        assert errors[-1] > 1e3 * min(errors)


def test_central_differences_of_a_known_function():
    found = gradient_check.central_differences(lambda x: x**2, [np.array([1.0, -3.0])], np.array([1.0, 10.0]), 0, 1e-5)
    np.testing.assert_allclose(found, [2, -60], rtol=1e-9)


def test_the_measure_is_that_of_the_document():
    assert gradient_check.relative_error(np.array([1.0, 3.0]), np.array([1.0, 1.0])) == 0.5
    assert gradient_check.relative_error(np.array([1e-10]), np.array([0.0])) == pytest.approx(1e-2)


def test_the_finding_names_whatever_is_wrong(quick):
    numbers = quick("gradient_check")
    before = gradient_check.finding(numbers)
    assert "derived, fused, staged, closed form: right" in before
    assert "class of seed 003: wrong, dx" in before
    numbers["backwards"]["staged"] |= {"verdict": "wrong", "findings": ["dgamma: 2 times too large"]}
    numbers["backwards"]["class of seed 003"] |= {"verdict": "ok", "findings": []}
    after = gradient_check.finding(numbers)
    assert "derived, fused, closed form, class of seed 003: right" in after
    assert "staged: wrong" in after
    assert "2 times too large" in after


def test_a_finding_without_a_right_backward(quick):
    numbers = quick("gradient_check")
    for b in numbers["backwards"].values():
        b["verdict"] = "wrong"
    assert "right" not in gradient_check.finding(numbers)


# -- backward_speed ------------------------------------------------------------------------------------


def test_the_gradients_agree_and_the_times_are_times(quick):
    numbers = quick("backward_speed")
    assert "100 x 500" in numbers
    for size in numbers.values():
        assert set(size["seconds"]) == RIGHT
        assert all(seconds > 0 for seconds in size["seconds"].values())
        assert set(size["differences"]) == RIGHT - {"staged"}
        for differences in size["differences"].values():
            assert set(differences) == GRADIENTS
            assert max(differences.values()) < 1e-7


def test_the_speedup_is_the_ratio_of_the_times():
    size = {"seconds": {"staged": 6.0, "closed form": 3.0, "fused": 12.0}}
    assert backward_speed.speedups(size) == {"closed form": 2.0, "fused": 0.5}


def test_the_finding_is_of_the_smallest_size_and_the_largest():
    def size(fused, difference):
        return {
            "seconds": {"staged": 1.0, "closed form": 0.5, "fused": fused},
            "differences": {"closed form": {"dx": 0.0}, "fused": {"dx": difference}},
        }

    numbers = {"30 x 4": size(0.1, 1e-13), "200 x 5": size(4.0, 1e-14), "7 x 9": size(0.25, 1e-9)}
    text = backward_speed.finding(numbers)
    assert "at 7 x 9 the closed form 2.00 and the fused 4.00 times" in text
    assert "at 200 x 5 the closed form 2.00 and the fused 0.25 times" in text
    assert "30 x 4" not in text
    assert "1e-09" in text


def test_every_backward_is_timed_often_enough_even_without_time():
    runs = dict.fromkeys(("staged", "fused"), 0)

    def count(name):
        runs[name] += 1

    times = backward_speed.best_times({name: lambda name=name: count(name) for name in runs}, seconds=0)
    assert runs == {"staged": 5, "fused": 5}
    assert all(t > 0 for t in times.values())


# -- activations ---------------------------------------------------------------------------------------


def test_batch_norm_keeps_every_layer_at_the_breadth_of_a_normal_input(quick):
    numbers = quick("activations")
    assert len(numbers["layers"]) == 15
    for case, nets in numbers["layers"].items():
        normal = numbers["normal"][case.split()[0]]
        for layer in nets["with"]:
            assert activations.verdict(layer, normal) == "moderate"
            assert layer["spread"] == pytest.approx(normal["spread"], rel=0.1)


def test_without_it_the_scale_decides(quick):
    without = activations.last_verdicts(quick("activations"), "without")
    assert without["sigmoid 1.0"] == without["tanh 1.0"] == "saturated"
    assert without["relu 1.0"] == "blown up"
    assert {without[f"{activation} 0.01"] for activation in activations.RANGES} == {"constant"}
    assert without["tanh xavier"] == without["relu he"] == "moderate"


def test_small_weights_lose_the_differences_between_examples_layer_by_layer(quick):
    layers = quick("activations")["layers"]
    for activation in activations.RANGES:
        spreads = [layer["spread"] for layer in layers[f"{activation} 0.01"]["without"]]
        assert all(b < 0.3 * a for a, b in pairwise(spreads))


def test_the_histograms_hold_all_activations_but_the_zeros(quick):
    for case, nets in quick("activations")["layers"].items():
        total = 500 if case.startswith("relu") else 1000
        for layer in nets["with"]:
            assert sum(layer["per thousand"]) == pytest.approx(total, rel=0.05)


@pytest.mark.parametrize(
    ("y", "word"),
    [
        (np.tile([0.1, 0.9], (50, 1)), "constant"),
        (np.tile([[0.001], [0.999]], (25, 2)), "saturated"),
        (np.tile([[0.3], [0.7]], (25, 2)), "moderate"),
    ],
)
def test_the_verdict_on_activations_made_for_it(y, word):
    normal = {"spread": 0.21, "slope": 0.83}
    assert activations.verdict(activations.breadth(y, "sigmoid"), normal) == word


def test_the_verdict_on_a_relu_that_blew_up():
    y = np.tile([[0.0], [900.0]], (25, 2))
    assert activations.verdict(activations.breadth(y, "relu"), {"spread": 0.58, "slope": 0.5}) == "blown up"


def test_the_finding_turns_around_when_the_networks_are_exchanged(quick):
    numbers = quick("activations")
    assert "with BatchNorm, the activations are of moderate breadth in 15 of 15" in activations.finding(numbers)
    for nets in numbers["layers"].values():
        nets["with"], nets["without"] = nets["without"], nets["with"]
    assert activations.finding(numbers).endswith("without it, they are of moderate breadth in 15 of 15 cases")
