"""Data sets: arrays of equal length, shuffled mini-batches, and the readers of digits, MNIST and CIFAR-10.

>>> import numpy as np, tinygraph as tg
>>> data = tg.data.Dataset(x=np.arange(6.0).reshape(3, 2), y=np.array([0, 1, 0]))
>>> for x, y in tg.data.Batches(data, 2, shuffle=False):
...     print(x.shape, y)
(2, 2) [0 1]
(1, 2) [0]
"""

from ..errors import DataError, DataMissing
from .arrays import Dataset
from .batches import Batches
from .cifar import load_cifar10
from .digits import load_digits
from .mnist import load_mnist, read_idx

__all__ = ["Batches", "DataError", "DataMissing", "Dataset", "load_cifar10", "load_digits", "load_mnist", "read_idx"]
