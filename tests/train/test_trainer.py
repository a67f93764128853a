"""The training loop does what a loop written out does, and says what it did."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import nn, optim
from tinygraph.data import Batches, Dataset
from tinygraph.errors import AnomalyError, ArgumentError, ShapeError
from tinygraph.train import Trainer, accuracy


def problem(seed=0, n=40):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    return x, np.argmax(x[:, :3], axis=1)


def network(**options):
    net = nn.mlp(4, [8], 3, batch_norm=True, rng=0)
    return Trainer(net, optim.SGD(net.parameters(), lr=0.1), tg.cross_entropy, **({"rng": 7} | options))


def test_it_is_the_loop_written_out():
    history = (t := network()).fit(problem(), epochs=3, batch_size=16, verbose=0)
    net = nn.mlp(4, [8], 3, batch_norm=True, rng=0)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    x, y = problem()
    batches = Batches(Dataset(x=x, y=y), 16, rng=np.random.default_rng(7))
    losses, accuracies = [], []
    for _ in range(3):
        for a, b in batches:
            loss = tg.cross_entropy(net(tg.tensor(a)), b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        net.eval()
        accuracies.append(float(np.mean(net(tg.tensor(x)).numpy().argmax(1) == y)))
        net.train()
    assert history.loss == losses
    assert history.train["accuracy"] == accuracies
    assert history.ends == [3, 6, 9]
    assert history.learning_rate == [0.1] * 9
    assert (history.stopped, history.validation) == ("finished", {})
    assert all((net.state_dict()[name] == value).all() for name, value in t.model.state_dict().items())


def test_measures_are_means_over_the_examples():
    t = network()
    t.fit(problem(), epochs=1, verbose=0)
    x, y = problem(1, 33)
    t.model.eval()
    logits = t.model(tg.tensor(x))
    found = t.evaluate((x, y), batch_size=7)
    assert found["loss"] == pytest.approx(tg.cross_entropy(logits, y).item(), rel=1e-14)
    assert found["accuracy"] == pytest.approx(accuracy(logits.numpy(), y), rel=1e-14)


def test_training_accuracy_of_some_examples_only():
    seen = []
    t = network(metrics={"count": lambda outputs, targets: seen.append(len(targets)) or 0.0})
    t.fit(problem(), epochs=2, train_examples=5, validation=problem(1, 11), verbose=0)
    assert seen == [5, 11, 5, 11]


def test_modes_are_as_they_were():
    t = network()
    t.model[1].eval()  # frozen
    before = [module.training for _, module in t.model.named_modules()]
    t.fit(problem(), epochs=1, verbose=0)
    assert [module.training for _, module in t.model.named_modules()] == before
    t.evaluate(problem())
    assert [module.training for _, module in t.model.named_modules()] == before


def planned(values):
    """A trainer whose validation metric is as planned, and the parameters after each epoch."""
    states, plan = [], iter(values)
    t = network()

    def metric(outputs, targets):
        if len(targets) == 40:
            return 0.0
        states.append(t.model.state_dict())
        return next(plan)

    t.metrics = {"plan": metric}
    return t, states


def same(a, b):
    return all((a[name] == b[name]).all() for name in a)


def test_the_best_parameters_are_kept():
    t, states = planned([0.1, 0.7, np.nan, 0.7, 0.2])
    history = t.fit(problem(), validation=problem(1, 5), epochs=5, keep_best=True, verbose=0)
    assert history.best_epoch == 2
    assert same(t.model.state_dict(), states[1])
    assert not same(states[1], states[4])


def test_without_keep_best_the_last_parameters_stay():
    t, states = planned([0.7, 0.2])
    history = t.fit(problem(), validation=problem(1, 5), epochs=2, verbose=0)
    assert history.best_epoch == 1
    assert same(t.model.state_dict(), states[1])


def test_patience():
    t, _ = planned([0.1, 0.5, 0.4, 0.6, 0.6, 0.5, 0.9])
    history = t.fit(problem(), validation=problem(1, 5), epochs=9, patience=2, verbose=0)
    assert (len(history.ends), history.best_epoch, history.stopped) == (6, 4, "early")


def test_a_loss_is_better_when_smaller():
    history = network().fit(problem(), epochs=4, monitor="train loss", verbose=0)
    assert history.best_epoch == 1 + int(np.argmin(history.train["loss"]))


def test_learning_rates():
    history = network().fit(problem(), epochs=3, batch_size=20, lr_decay=0.5, verbose=0)
    assert history.learning_rate == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    t = network()
    t.optimizer = optim.SGD(t.model.parameters(), lr=optim.StepDecay(1.0, 0.5, 2))
    assert t.fit(problem(), epochs=2, batch_size=20, verbose=0).learning_rate == [1.0, 1.0, 0.5, 0.5]
    with pytest.raises(ArgumentError, match="the rate follows StepDecay"):
        t.fit(problem(), epochs=1, lr_decay=0.5, verbose=0)
    assert t.optimizer.steps == 4


def turns_bad(at, value):
    t = network()

    def loss(outputs, targets):
        factor = value if t.model.training and len(t.history.loss) == at else 1.0
        return tg.cross_entropy(outputs, targets) * factor

    t.loss = loss
    return t


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops(value):
    t = turns_bad(6, value)
    with pytest.raises(AnomalyError, match=rf"the loss is {value} at iteration 7 \(epoch 2\); lower the learning rate"):
        t.fit(problem(), epochs=3, batch_size=10, verbose=0)
    assert (len(t.history.loss), t.history.stopped) == (6, "diverged")
    assert t.optimizer.steps == 6  # the bad step was not taken
    assert all(np.isfinite(array).all() for array in t.model.state_dict().values())


def test_or_it_goes_on():
    t = turns_bad(2, np.nan)
    history = t.fit(problem(), epochs=3, batch_size=10, stop_on_nan=False, verbose=0)
    assert len(history.loss) == 12
    assert np.isnan(history.loss[2:]).all()
    assert history.best_epoch == 1  # accuracy of nan outputs is that of class 0
    assert history.stopped == "finished"


def test_seeds():
    runs = [network(rng=seed).fit(problem(), epochs=1, batch_size=8, verbose=0).loss for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    rng = np.random.default_rng(1)
    assert network(rng=rng).fit(problem(), epochs=1, batch_size=8, verbose=0).loss == runs[0]


def test_ready_made_batches_several_inputs_and_real_targets():
    class Both(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Linear(4, 1, rng=0), nn.Linear(2, 1, rng=1)

        def forward(self, x, z):
            return self.a(x) + self.b(z)

    rng = np.random.default_rng(0)
    data = Dataset(x=rng.normal(size=(9, 4)), z=rng.normal(size=(9, 2)), y=rng.normal(size=(9, 1)))
    net = Both()
    t = Trainer(net, optim.SGD(net.parameters(), lr=0.1), lambda out, y: tg.mean((out - y) ** 2))
    history = t.fit(Batches(data, 4, rng=0, drop_last=True), epochs=20, verbose=0)
    assert len(history.loss) == 40
    assert list(history.train) == ["loss"]
    assert history.train["loss"][-1] < history.train["loss"][0]


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (np.zeros((4, 4)), {}, ArgumentError, "give inputs and targets, a pair of arrays"),
        (Dataset(x=np.zeros((4, 4))), {}, ArgumentError, "at least two arrays"),
        ((np.zeros((0, 4)), np.zeros(0, int)), {}, ArgumentError, "give inputs and targets"),
        ((np.zeros((4, 4)), np.zeros(3, int)), {}, ShapeError, "x 4, y 3"),
        (problem(), {"validation": 3}, ArgumentError, r"fit\(validation=3\)"),
        (problem(), {"batch_size": 0}, ArgumentError, "size=0"),
        (problem(), {"patience": 0}, ArgumentError, r"fit\(patience=0\)"),
        (problem(), {"every": -1}, ArgumentError, r"fit\(every=-1\)"),
        (problem(), {"epochs": 1.5}, ArgumentError, r"fit\(epochs=1.5\): give an integer of 0 or more"),
        (problem(), {"lr_decay": -1}, ArgumentError, r"fit\(lr_decay=-1\): give a number above 0"),
        (problem(), {"lr_decay": "a"}, ArgumentError, r"fit\(lr_decay='a'\)"),
        (problem(), {"resume": True}, ArgumentError, "without a file there is nothing to write or resume"),
        (problem(), {"every": 3}, ArgumentError, "without a file"),
        (problem(), {"checkpoint": "nowhere/run"}, FileNotFoundError, "there is no folder"),
        (problem(), {"train_examples": 0}, ArgumentError, r"fit\(train_examples=0\)"),
        (problem(), {"monitor": "validation loss"}, ArgumentError, "this is not measured"),
        (problem(), {"monitor": "train speed"}, ArgumentError, "this is not measured"),
        (Batches(Dataset(x=np.zeros((4, 4)), y=np.zeros(4, int)), 2), {"batch_size": 3}, ArgumentError, "leave batch_size out"),
        (Batches(Dataset(x=np.zeros((4, 4))), 2), {}, ArgumentError, "at least two arrays"),
    ],
)  # fmt: skip
def test_wrong_arguments(data, options, error, message):
    with pytest.raises(error, match=message):
        network().fit(data, **({"epochs": 1, "verbose": 0} | options))


def test_what_a_trainer_is_not_made_from():
    net, other = nn.Linear(4, 3, rng=0), nn.Linear(4, 3, rng=0)
    sgd = optim.SGD(net.parameters(), lr=0.1)
    for arguments, message in (
        ((np.sin, sgd, tg.cross_entropy), r"Trainer\(model=.*give an nn.Module"),
        ((net, tg.cross_entropy, sgd), r"Trainer\(optimizer=function\): give an optimiser"),
        ((net, optim.SGD, tg.cross_entropy), r"Trainer\(optimizer=type\)"),
        ((other, sgd, tg.cross_entropy), "has no parameter of this model; make it from model.parameters"),
        ((net, sgd, "mse"), r"Trainer\(loss=str\): give a function"),
    ):
        with pytest.raises(ArgumentError, match=message):
            Trainer(*arguments)
    with pytest.raises(ArgumentError, match=r"Trainer\(metrics=function\): give names with functions"):
        Trainer(net, sgd, tg.cross_entropy, metrics=accuracy)
    with pytest.raises(ArgumentError, match=r"evaluate\(data=float64\[4\]\): give inputs and targets"):
        network().evaluate(np.ones(4))
    with pytest.raises(ArgumentError, match=r"evaluate\(batch_size=0\)"):
        network().evaluate(problem(), batch_size=0)


def test_a_last_batch_of_one_example_that_batch_norm_cannot_take():
    data = problem(n=33)
    with pytest.raises(ShapeError, match=r"33 examples in batches of 8 leave a last batch of 1, .*drop_last=True"):
        network().fit(data, epochs=1, batch_size=8, verbose=0)
    batches = Batches(Dataset(x=data[0], y=data[1]), 8, drop_last=True)
    assert len(network().fit(batches, epochs=1, verbose=0).loss) == 4


class Two(nn.Module):
    def __init__(self):
        self.a, self.b = nn.Linear(4, 3, rng=0), nn.Linear(4, 1, rng=1)

    def forward(self, x):
        return self.a(x), self.b(x)


def test_several_outputs():
    def loss(outputs, y):
        return tg.cross_entropy(outputs[0], y) + tg.mean(outputs[1] ** 2)

    def first(outputs, y):
        assert all(type(array) is np.ndarray for array in outputs)
        return accuracy(outputs[0], y)

    net = Two()
    sgd = optim.SGD(net.parameters(), lr=0.1)
    history = Trainer(net, sgd, loss, metrics={"first": first}).fit(problem(), epochs=2, verbose=0)
    assert len(history.train["first"]) == 2
    with pytest.raises(ShapeError, match=r"accuracy\(.*\): an output for each of 2 classes"):
        Trainer(net, sgd, loss).fit(problem(), epochs=1, verbose=0)


def test_accuracy_of_what_are_no_classes_is_an_error():
    for outputs in (np.zeros((5, 1)), np.zeros(5), np.zeros((4, 3)), [1.0]):
        with pytest.raises(ShapeError, match="accuracy"):
            accuracy(outputs, np.zeros(5, int))
    assert accuracy(tg.tensor(np.eye(3)), np.array([0, 1, 0])) == pytest.approx(2 / 3)


def test_a_metric_that_fails_leaves_a_whole_history():
    def metric(outputs, targets):
        if len(t.history.ends) == 1:
            raise ZeroDivisionError
        return 0.5

    t = network(metrics={"m": metric})
    with pytest.raises(ZeroDivisionError):
        t.fit(problem(), epochs=3, batch_size=20, verbose=0)
    assert t.history.train["m"] == [0.5]
    assert (len(t.history.ends), len(t.history.loss)) == (1, 4)
    assert t.history.to_csv().count("\n") == 5


def test_the_best_parameters_also_after_a_loss_that_is_no_number():
    t = turns_bad(6, np.nan)
    with pytest.raises(AnomalyError):
        t.fit(problem(), epochs=3, batch_size=10, keep_best=True, monitor="train loss", verbose=0)
    assert t.history.best_epoch == 1
    alone = network()
    alone.fit(problem(), epochs=1, batch_size=10, verbose=0)
    assert same(t.model.state_dict(), alone.model.state_dict())


def test_a_loss_that_is_none():
    t = network()
    for loss in (lambda out, y: 3.0, lambda out, y: out, lambda out, y: out.numpy().sum()):
        t.loss = loss
        with pytest.raises(ShapeError, match="return one number as a Tensor"):
            t.fit(problem(), epochs=1, verbose=0)
    with pytest.raises(ArgumentError, match="'loss' is the name of the loss itself"):
        network(metrics={"loss": accuracy})


# -- what is seen ------------------------------------------------------------------------------------


def test_silence(capfd):
    network().fit(problem(), epochs=2, verbose=0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_bar_with_loss_and_accuracy_and_a_line_per_epoch(verbose, capsys):
    pytest.importorskip("tqdm")
    history = network().fit(problem(), validation=problem(1, 9), epochs=2, batch_size=10, verbose=verbose)
    out, err = capsys.readouterr()
    assert "8/8" in err
    assert f"loss {history.loss[-1]:.4g}, accuracy " in err
    lines = [line for line in out.splitlines() if line.startswith("epoch ")]
    assert len(lines) == (2 if verbose == 2 else 0)
    assert all("train accuracy" in line and "validation loss" in line for line in lines)


def test_without_tqdm(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    network().fit(problem(), epochs=2, verbose=1)
    assert capsys.readouterr() == ("", "")
    network().fit(problem(), epochs=2, verbose=2)
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["epoch 1", "epoch 2"]
    assert err == ""


def test_the_bar_changes_nothing(capsys):
    quiet, seen = (network().fit(problem(), epochs=2, batch_size=9, verbose=verbose) for verbose in (0, 1))
    assert quiet == seen
