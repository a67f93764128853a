"""What newcomers get wrong: each error names the layer, what is wrong, and what to write."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import nn
from tinygraph.errors import TinygraphError

IMAGES = np.ones((2, 3, 8, 8))


class Layer(nn.Module):
    def __init__(self, value):
        self.w = value


class Forgot(nn.Module):
    pass


def overwrite():
    layer = nn.Linear(2, 2, rng=0)
    layer.weight = np.zeros((2, 2))


def overwrite_gamma():
    nn.BatchNorm(2).gamma = np.zeros(2)


MISTAKES = {
    "wrong features": (lambda: nn.Linear(3, 2)(np.ones((4, 5))), ValueError, "last axis has 5 features, 3 are due"),
    "a number": (lambda: nn.Linear(3, 2)(1.0), ValueError, "give [N, 3]"),
    "no Flatten": (lambda: nn.Linear(192, 2)(IMAGES), ValueError, "put nn.Flatten() before it"),
    "channels last": (lambda: nn.Conv2d(3, 4, 3)(np.ones((2, 8, 8, 3))), ValueError, "give [N, 3, H, W]"),
    "no batch axis": (lambda: nn.Conv2d(3, 4, 3)(IMAGES[0]), ValueError, "give [N, C, H, W]"),
    "too small": (lambda: nn.MaxPool2d(9)(IMAGES), ValueError, "window of 9×9 does not fit into 8×8; give larger images"),
    "groups": (lambda: nn.Conv2d(3, 4, 3, groups=2), TypeError, "multiples of groups"),
    "three axes": (lambda: nn.Conv2d(3, 4, (3, 3, 3)), TypeError, "give one number, or (height, width)"),
    "border only": (lambda: nn.MaxPool2d(2, padding=2), TypeError, "at most half the window"),
    "one example": (lambda: nn.BatchNorm(3)(np.ones((1, 3))), ValueError, "give two examples or more, or call eval()"),
    "empty batch": (lambda: nn.BatchNorm(3)(np.ones((0, 3))), ValueError, "leave out empty batches"),
    "a vector": (lambda: nn.BatchNorm(3)(np.ones(3)), ValueError, "give [N, 3]"),
    "integers": (lambda: nn.BatchNorm(3)(np.ones((4, 3), int)), TypeError, ".astype(np.float64)"),
    "no function": (lambda: nn.Linear(2, 2, initial="he"), TypeError, "Linear(initial='he'): no function; give nn.init.he"),
    "initial shape": (lambda: nn.Conv2d(1, 1, 2, initial=lambda *_: np.zeros(3)), ValueError, "shape given, (1, 1, 2, 2)"),
    "no such layer": (lambda: nn.GELU, AttributeError, "tinygraph.nn has no 'GELU': it has AvgPool2d, BatchNorm"),
    "one name for all": (lambda: nn.BatchNorm2d, AttributeError, "write nn.BatchNorm"),
    "a list of layers": (lambda: nn.ModuleList, AttributeError, "write a plain list or dict"),
    "a loss": (lambda: nn.CrossEntropyLoss(), AttributeError, "write tg.cross_entropy(logits, target)"),
    "append": (lambda: nn.Sequential().append(nn.ReLU()), AttributeError, "write nn.Sequential(*net, layer)"),
    "percent": (lambda: nn.Dropout(50), TypeError, "give e.g. p=0.5"),
    "both words": (lambda: nn.BatchNorm(3, momentum=0.1, decay=0.9), TypeError, "give one of them"),
    "momentum": (lambda: nn.BatchNorm(3, momentum=9), TypeError, "from 0 to 1"),
    "decay": (lambda: nn.BatchNorm(3, decay=-1), TypeError, "decay=-1"),
    "epsilon": (lambda: nn.BatchNorm(3, eps="small"), TypeError, "give e.g. eps=1e-5"),
    "implementation": (lambda: nn.BatchNorm(3, impl="fast"), TypeError, "write 'composed' or 'fused'"),
    "last axes": (lambda: nn.LayerNorm((3, 4))(np.ones((2, 4, 3))), ValueError, "give [N, …, 3, 4]"),
    "no axes": (lambda: nn.LayerNorm(()), TypeError, "give the last sizes of x"),
    "integers again": (lambda: nn.LayerNorm(3)(np.ones((2, 3), int)), TypeError, ".astype(np.float64)"),
    "size": (lambda: nn.Linear(3.5, 2), TypeError, "in_features=3.5"),
    "dtype": (lambda: nn.Linear(3, 2, dtype=int), TypeError, "give np.float32 or np.float64"),
    "no dtype": (lambda: nn.Linear(3, 2, dtype="real"), TypeError, "give a NumPy dtype"),
    "generator": (lambda: nn.Linear(3, 2, rng=np.random), TypeError, "give np.random.default_rng(seed)"),
    "the class": (lambda: nn.Sequential(nn.Flatten(), nn.ReLU), TypeError, "layer 1 is the class ReLU; write ReLU()"),
    "a list": (lambda: nn.Sequential([nn.ReLU()]), TypeError, "write Sequential(*layers)"),
    "a function": (lambda: nn.Sequential(tg.relu), TypeError, "layer 0 is relu, no Module"),
    "a taken name": (lambda: nn.Sequential({"train": nn.ReLU()}), TypeError, "'train' cannot name a layer"),
    "beyond the end": (lambda: nn.Sequential(nn.ReLU())[1], IndexError, "it has 1 layers, 0"),
    "a plain Tensor": (lambda: Layer(tg.tensor([1.0], requires_grad=True)), TypeError, "write tg.Parameter(data)"),
    "an array over a Parameter": (overwrite, TypeError, "write .weight.assign(value)"),
    "an array over gamma": (overwrite_gamma, TypeError, "write .weight.assign(value)"),
    "no numbers": (lambda: nn.Sequential(nn.Tanh())("text"), TypeError, "0: Tanh(str): a Tensor holds numbers"),
    "nothing": (lambda: nn.Linear(2, 2)(None), TypeError, "Linear(None): it holds no numbers"),
    "pooled integers": (lambda: nn.MaxPool2d(2, padding=1)(np.ones((1, 1, 4, 4), int)), TypeError, ".astype(np.float64)"),
    "a name": (lambda: nn.BatchNorm(3, name=1), TypeError, "a name is a string; write '1'"),
    "no forward": (lambda: Forgot()(1.0), TypeError, "write def forward(self, x)"),
    "another library": (lambda: nn.ReLU().cuda(), AttributeError, "arrays live in main memory"),
    "no such part": (lambda: nn.Linear(2, 2).wieght, AttributeError, "it has in_features, out_features, weight, bias"),
    "a mode": (lambda: nn.ReLU().train("eval"), TypeError, "write train() or eval()"),
    "hidden": (lambda: nn.mlp(4, 100, 2), TypeError, "give e.g. hidden=[100, 100]"),
    "activation": (lambda: nn.mlp(4, [3], 2, activation="gelu"), TypeError, "write one of relu, sigmoid, tanh, softplus"),
    "position": (lambda: nn.mlp(4, [3], 2, norm_position="first"), TypeError, "'before' or 'after'"),
    "scale": (lambda: nn.mlp(4, [3], 2, weight_scale="small"), TypeError, "a number, 'he' or 'xavier'"),
    "negative scale": (lambda: nn.mlp(4, [3], 2, weight_scale=-1), TypeError, "give e.g. 0.01"),
    "batch norm": (lambda: nn.mlp(4, [3], 2, batch_norm="yes"), TypeError, "True, False, 'composed' or 'fused'"),
    "fans of a vector": (lambda: nn.init.he((3,)), ValueError, "use normal(scale) for a vector"),
    "population": (lambda: nn.population_statistics(IMAGES, nn.ReLU()), TypeError, "give the model, then the data"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_says_what_to_write(name):
    call, kind, words = MISTAKES[name]
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, TinygraphError)
    assert words in str(caught.value)


def test_an_activation_cached_on_a_module_is_no_mistake():
    layer = nn.Linear(2, 2, rng=0)
    layer.last = layer(np.ones((1, 2)))
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert isinstance(tg.grad(lambda x: tg.sum(Layer(x).w))(np.ones(2)), tg.Tensor)
