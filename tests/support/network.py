"""What the programs of these tests train: the BatchNorm network of two blocks, and the batch."""

import re

import numpy as np

import tinygraph as tg

nn = tg.nn
N, FEATURES, HIDDEN, CLASSES = 64, 20, 32, 4
COLLECTIVE = r"\b(all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)(?:-start)?\((.*)"


def batch(dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, FEATURES)).astype(dtype), rng.integers(0, CLASSES, N)


class Network(nn.Module):
    def __init__(self, dtype, seed=0):
        self.fc1 = nn.Linear(FEATURES, HIDDEN, dtype=dtype, rng=seed)
        self.bn1 = nn.BatchNorm(HIDDEN, dtype=dtype)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN, dtype=dtype, rng=seed + 1)
        self.bn2 = nn.BatchNorm(HIDDEN, dtype=dtype)
        self.fc3 = nn.Linear(HIDDEN, CLASSES, dtype=dtype, rng=seed + 2)

    def forward(self, x):
        h = tg.relu(self.bn1(self.fc1(x)))
        return self.fc3(tg.relu(self.bn2(self.fc2(h))))


class Job:
    """A network, its optimiser, and its compiled training step."""

    def __init__(self, dtype, seed=0, backend="jax", net=None, more=False, **options):
        self.net = net or Network(dtype, seed)
        self.optimizer = tg.optim.SGD(self.net.parameters(), lr=0.1, **options)
        self.parts = self.net, self.optimizer

        def train_step(x, t):
            loss = tg.cross_entropy(self.net(x), t)
            if more:
                loss = loss + 0.01 * tg.sum(self.net.weight**2)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            return loss

        self.step = tg.compile(train_step, backend=backend)

    def collectives(self):
        """Each collective of the compiled step: its name, how many arrays it takes, the scopes that it serves."""
        return collectives(self.step._latest.kernel.compiled_text())


def collectives(text):
    found = []
    for name, rest in re.findall(COLLECTIVE, text):
        scopes = re.search(r'op_name="([^"]*)"', rest)
        found.append((name, rest.split(")")[0].count("%") or 1, scopes.group(1) if scopes else ""))
    return found


def train(job, steps, place=lambda batch: batch, dtype="float32"):
    """The losses of some steps on one batch."""
    x, t = batch(dtype)
    return [float(job.step(*place((x, t)))) for _ in range(steps)]
