"""state_dict and its checks; what an optimiser refuses; schedules."""

import math

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.errors import ArgumentError, DTypeError, ShapeError
from tinygraph.optim import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Exponential,
    RMSProp,
    Schedule,
    StepDecay,
    WarmUp,
)

MAKERS = {
    "SGD": lambda ps: SGD(ps, lr=0.1),
    "momentum": lambda ps: SGD(ps, lr=0.1, momentum=0.9),
    "AdaGrad": lambda ps: AdaGrad(ps, lr=0.1),
    "RMSProp": lambda ps: RMSProp(ps, lr=0.1),
    "Adam": lambda ps: Adam(ps, lr=Cosine(0.1, 8)),
    "AdamW": lambda ps: AdamW(ps, lr=0.1),
}


def parameters(dtype=np.float64):
    return [tg.Parameter(np.arange(3, dtype=dtype), name="a"), tg.Parameter(np.ones((2, 2), dtype))]


def go(optimizer, steps):
    for _ in range(steps):
        for p in optimizer.parameters:
            p.grad = tg.tensor(np.cos(p.numpy()))
        optimizer.step()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_resuming_is_bitwise_going_on(make, dtype):
    whole = make(parameters(dtype))
    go(whole, 4)
    state, values = whole.state_dict(), [p.numpy() for p in whole.parameters]
    go(whole, 3)
    resumed = make([tg.Parameter(v) for v in values])
    resumed.load_state_dict(state)
    go(resumed, 3)
    assert resumed.steps == 7
    for a, b in zip(whole.parameters, resumed.parameters, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(array, resumed.state_dict()[name])


def test_a_state_is_read_only_and_a_snapshot():
    optimizer = MAKERS["momentum"](parameters())
    go(optimizer, 1)
    state = optimizer.state_dict()
    assert set(state) == {"steps", "lr", "momentum.0", "momentum.1"}
    assert all(type(a) is np.ndarray and not a.flags.writeable for a in state.values())
    before = {k: a.copy() for k, a in state.items()}
    go(optimizer, 1)
    for name in state:
        np.testing.assert_array_equal(state[name], before[name])


def test_numbers_will_do_for_what_has_no_axes():
    optimizer = SGD(parameters(), lr=0.1)
    optimizer.load_state_dict({"steps": 5, "lr": 0.25})
    assert (optimizer.steps, optimizer.lr) == (5, 0.25)


BAD = {
    "missing": (lambda s: s.pop("mean.1"), ArgumentError, "missing mean.1; unknown nothing"),
    "unknown": (lambda s: s.update(extra=1), ArgumentError, "unknown extra"),
    "shape": (lambda s: s.update({"mean.0": np.zeros(4)}), ShapeError, r"mean.0 has shape \(4,\)"),
    "dtype": (lambda s: s.update({"mean.0": np.zeros(3, np.float32)}), DTypeError, "mean.0 is float32"),
    "objects": (lambda s: s.update({"mean.0": [None] * 3}), DTypeError, "mean.0 is object"),
    "float steps": (lambda s: s.update(steps=1.0), DTypeError, "steps is float64"),
    "negative": (lambda s: s.update({"count.0": -1}), ArgumentError, "count.0 is -1"),
    "nan": (lambda s: s.update(lr=math.nan), ArgumentError, "lr"),
}


@pytest.mark.parametrize(("spoil", "error", "match"), BAD.values(), ids=BAD)
def test_a_bad_state_changes_nothing(spoil, error, match):
    optimizer = MAKERS["AdamW"](parameters())
    go(optimizer, 2)
    before = optimizer.state_dict()
    state = {name: array + array.dtype.type(1) for name, array in before.items()}
    spoil(state)
    with pytest.raises(error, match=match):
        optimizer.load_state_dict(state)
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_state_of_another_optimiser_is_refused():
    with pytest.raises(ArgumentError, match="of the same kind"):
        MAKERS["RMSProp"](parameters()).load_state_dict(MAKERS["AdamW"](parameters()).state_dict())


p = tg.Parameter([1.0])
REFUSED = {
    "empty": (lambda: SGD([]), ArgumentError, "nothing to optimise"),
    "bare": (lambda: SGD(p), ArgumentError, r"write \[parameter\]"),
    "tensor": (lambda: SGD([p, tg.tensor([1.0])]), ArgumentError, "number 1, float64.1., is no Parameter"),
    "array": (lambda: Adam([np.ones(2)]), ArgumentError, "number 0, .* is no Parameter"),
    "names": (lambda: Adam({"w": p}), ArgumentError, "number 0, str, is no Parameter"),
    "model": (lambda: SGD(tg.nn.ReLU()), ArgumentError, r"SGD\(ReLU\): .*write model.parameters\(\)"),
    "a Sequential": (lambda: SGD(tg.nn.Sequential()), ArgumentError, r"write model.parameters\(\)"),
    "no call": (lambda: Adam(tg.nn.ReLU().parameters), ArgumentError, r"write model.parameters\(\)"),
    "groups": (lambda: Adam([{"params": [p]}]), ArgumentError, r"number 0, dict, .*give model.parameters\(\)"),
    "integer": (lambda: SGD([tg.Parameter([1], requires_grad=False)]), DTypeError, "is not float"),
    "twice": (lambda: SGD([p, tg.Parameter([2.0]), p]), ArgumentError, "number 0 and 2"),
    "negative lr": (lambda: SGD([p], lr=-0.1), ArgumentError, r"SGD\(lr=-0.1\)"),
    "nan lr": (lambda: Adam([p], lr=math.nan), ArgumentError, r"Adam\(lr=nan\)"),
    "inf lr": (lambda: Adam([p], lr=math.inf), ArgumentError, r"lr=inf"),
    "text lr": (lambda: SGD([p], lr="0.1"), ArgumentError, "lr='0.1'"),
    "true lr": (lambda: SGD([p], lr=True), ArgumentError, "lr=True"),
    "momentum": (lambda: SGD([p], momentum=-1), ArgumentError, "momentum=-1"),
    "nesterov": (lambda: SGD([p], nesterov=True), ArgumentError, "needs a momentum"),
    "decay": (lambda: AdaGrad([p], weight_decay=math.nan), ArgumentError, "weight_decay=nan"),
    "alpha": (lambda: RMSProp([p], alpha=1.0), ArgumentError, "alpha=1.0.*less than 1"),
    "eps": (lambda: AdaGrad([p], eps=-1e-8), ArgumentError, "eps=-1e-08"),
    "betas": (lambda: Adam([p], betas=(0.9, 1.0)), ArgumentError, r"betas\[1\]=1.0"),
    "one beta": (lambda: AdamW([p], betas=0.9), ArgumentError, "give two numbers"),
    "set lr": (lambda: setattr(SGD([p]), "lr", math.nan), ArgumentError, "lr=nan"),
    "set scheduled": (lambda: setattr(SGD([p], Constant(1)), "lr", 0.1), ArgumentError, "follows Constant"),
    "schedule": (lambda: Exponential(-1, 0.5), ArgumentError, r"Exponential\(lr=-1\)"),
    "no factor": (lambda: Exponential(1, -1), ArgumentError, r"Exponential\(factor=-1\)"),
    "step schedule": (lambda: StepDecay(1, 0.5, 0), ArgumentError, r"StepDecay\(steps=0\)"),
    "factor": (lambda: StepDecay(1, math.nan, 3), ArgumentError, "factor=nan"),
    "steps": (lambda: Cosine(1, 0), ArgumentError, "steps=0"),
    "half a step": (lambda: WarmUp(1, 2.5), ArgumentError, "steps=2.5"),
    "before": (lambda: Constant(1)(-1), ArgumentError, "t=-1"),
    "abstract": (lambda: Schedule()(1), NotImplementedError, "write the rate"),
}


@pytest.mark.parametrize(("call", "error", "match"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("rate", [-1.0, math.nan, np.ones(2), None])
def test_a_schedule_that_returns_no_rate_is_an_error_before_anything_changes(rate):
    w = tg.Parameter([1.0])
    w.grad = tg.tensor([1.0])
    optimizer = SGD([w], lr=lambda t: rate)
    with pytest.raises(tg.TinygraphError):
        optimizer.step()
    assert w.tolist() == [1.0]


# -- learning rates ---------------------------------------------------------------------------------

SCHEDULES = {
    "constant": (Constant(0.3), lambda t: 0.3),
    "exponential": (Exponential(0.3, 0.5, 7), lambda t: 0.3 * 0.5 ** (t / 7)),
    "steps": (StepDecay(0.3, 0.5, 7), lambda t: 0.3 * 0.5 ** (t // 7)),
    "cosine": (Cosine(0.3, 7, 0.1), lambda t: 0.1 + 0.2 * (1 + math.cos(math.pi * min(t / 7, 1))) / 2),
    "warm-up": (WarmUp(Exponential(0.3, 0.5), 5), lambda t: min((t + 1) / 5, 1) * 0.3 * 0.5**t),
    "warm-up of a function": (WarmUp(lambda t: 0.3 / (t + 1), 5), lambda t: min((t + 1) / 5, 1) * 0.3 / (t + 1)),
}


@pytest.mark.parametrize(("schedule", "formula"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_and_the_steps_that_follow_it(schedule, formula):
    w = tg.Parameter([0.0])
    optimizer = SGD([w], lr=schedule)
    position = 0.0
    for t in range(20):
        rate = schedule(t)
        assert type(rate) is float
        assert rate == pytest.approx(formula(t), rel=1e-14)
        assert optimizer.lr == pytest.approx(rate, rel=1e-14)
        w.grad = tg.tensor([1.0])
        optimizer.step()
        position -= formula(t)
        assert w.item() == pytest.approx(position, rel=1e-13)


def test_a_function_that_branches_runs():
    w = tg.Parameter([0.0])
    optimizer = SGD([w], lr=lambda t: 1.0 if t < 2 else 0.5)
    for _ in range(4):
        w.grad = tg.tensor([1.0])
        optimizer.step()
    assert w.item() == -3.0


def test_the_rate_can_be_set():
    w = tg.Parameter([0.0])
    optimizer = SGD([w], lr=1.0)
    optimizer.lr /= 4
    w.grad = tg.tensor([1.0])
    optimizer.step()
    assert (optimizer.lr, w.item()) == (0.25, -0.25)
    assert repr(optimizer) == "SGD(1 parameters, lr=0.25, steps=1)"


def test_schedules_compare_and_say_what_they_are():
    assert Cosine(0.1, 10) == Cosine(0.1, 10)
    assert repr(WarmUp(Cosine(0.1, 10), 3)) == "WarmUp(then=Cosine(lr=0.1, steps=10, end=0.0), steps=3)"
