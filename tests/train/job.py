"""A run with everything that has a state: ``python job.py FILE`` trains, or goes on from the file."""

import sys

import numpy as np

import tinygraph as tg

nn = tg.nn


def make(optimizer=None) -> tg.train.Trainer:
    net = nn.Sequential(
        nn.Linear(6, 8, rng=1), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.3, rng=2), nn.Linear(8, 3, rng=3)
    )
    optimizer = optimizer or (lambda parameters: tg.optim.Adam(parameters, lr=0.02))
    return tg.train.Trainer(net, optimizer(net.parameters()), tg.cross_entropy, rng=5)


def data(seed: int = 0) -> tg.data.Dataset:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 6))
    return tg.data.Dataset(x=x, y=np.argmax(x[:, :3] + 0.5 * rng.normal(size=(60, 3)), axis=1))


def fit(path, epochs=12, trainer=None, **options):
    settings = {"batch_size": 8, "lr_decay": 0.95, "keep_best": True, "every": 1, "resume": True, "verbose": 0}
    return (trainer or make()).fit(data(), validation=data(1), epochs=epochs, checkpoint=path, **(settings | options))


if __name__ == "__main__":
    fit(sys.argv[1], epochs=30)
