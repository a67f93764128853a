"""Every layer runs in a scope named by its place: in listings, in pictures that fold, in errors."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import nn
from tinygraph.picture.model import Fold

X = np.random.default_rng(0).normal(size=(5, 4))


def scopes(y):
    """The scopes of all ops, in order, each once."""
    return list(dict.fromkeys(t.node.scope.path if t.node.scope else "" for t in tg.Graph([y]).nodes))


def test_a_network_opens_one_scope_for_each_part():
    y = nn.mlp(4, [3], 2, batch_norm=True, rng=0)(X)
    assert scopes(y) == [
        "block1/linear", "block1/bn/mean", "block1/bn/centre", "block1/bn/variance", "block1/bn/normalise",
        "block1/bn/scale and shift", "block1/activation", "out",
    ]  # fmt: skip


def test_a_layer_by_itself_goes_by_its_name_or_its_class():
    assert scopes(nn.Linear(4, 2, rng=0)(X)) == ["Linear"]
    assert scopes(nn.BatchNorm(4, name="bn3")(X)) == ["bn3/scale and shift"]
    net = nn.Sequential(nn.Linear(4, 2, rng=0))
    net.name = "encoder"
    assert scopes(net(X)) == ["encoder/0"]


class Deep(nn.Module):
    """Calls a part of a part."""

    def __init__(self):
        self.block = nn.Sequential({"inner": nn.Linear(4, 4, rng=0)})
        self.layers = [nn.Linear(4, 4, rng=1)]

    def forward(self, x):
        return self.layers[0](self.block[0](x))


def test_parts_of_parts_and_lists():
    assert scopes(Deep()(X)) == ["block/inner", "layers/0"]
    with tg.scope("model"):
        assert scopes(Deep()(X)) == ["model/block/inner", "model/layers/0"]
    assert scopes(nn.Sequential({"deep": Deep()})(X)) == ["deep/block/inner", "deep/layers/0"]


def test_a_layer_made_inside_forward_is_its_own():
    class Maker(nn.Module):
        def forward(self, x):
            return nn.Linear(4, 2, rng=0)(x)

    assert scopes(Maker()(X)) == ["Maker/Linear"]


def test_the_picture_folds_by_layers():
    net = nn.mlp(4, [3, 3], 2, batch_norm=True, rng=0)
    y = tg.cross_entropy(net(X), [0, 1, 0, 1, 1])
    folded = tg.draw(y, collapse=["block*", "out", "cross entropy"])
    assert [n.title.split(" · ")[1] for n in folded.view.nodes if isinstance(n, Fold)] == [
        "block1", "block2", "out", "cross entropy",
    ]  # fmt: skip
    assert folded.counts["ops"] == 0
    by_layer = tg.draw(y, collapse=1)
    titles = [n.title for n in by_layer.view.nodes if isinstance(n, Fold)]
    assert sum("bn" in t for t in titles) == sum("linear" in t for t in titles) == 2


@pytest.mark.parametrize("mode", ["forward", "both"])
def test_activation_and_dropout_bring_no_inputs_of_their_own(mode):
    y = nn.mlp(4, [3], 2, dropout=0.5, rng=0)(tg.tensor(X, name="x"))
    y.backward(np.ones(y.shape))
    wires = [n for n in tg.draw(y, mode=mode).view.nodes if getattr(n, "role", "") == "input"]
    assert [n.name for n in wires] == ["x"]
    assert [t.node.op.name for t in tg.Graph([y]).nodes][3:8] == [
        "relu",
        "random_uniform",
        "greater_equal",
        "div",
        "where",
    ]


def test_an_error_names_the_place():
    net = nn.Sequential({"block2": nn.Sequential({"linear": nn.Linear(4, 3, rng=0), "bn": nn.BatchNorm(4)})})
    with pytest.raises(tg.errors.ShapeError) as caught:
        net(X)
    assert str(caught.value) == (
        "block2.bn: BatchNorm(float64[5,3]): axis 1 has 3 channels, 4 are due; give [N, 4] or [N, 4, …]"
    )
    assert net["block2"]["bn"].place == ""  # outside a run it has no place


def test_a_trace_names_the_arguments_of_forward():
    graph = tg.trace(nn.mlp(4, [3], 2, batch_norm=True, rng=0).eval(), X)
    assert graph.inputs[0].name == "x"
    np.testing.assert_array_equal(graph.run(np, X)[0], nn.mlp(4, [3], 2, batch_norm=True, rng=0).eval()(X).numpy())
