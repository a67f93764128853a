"""Optimisers and learning-rate schedules.

Every optimiser takes a list of Parameters and a learning rate: a number, or a schedule. A step reads
``.grad`` of each parameter, computes every new value with Tensor operations, and then assigns them all.

>>> import numpy as np, tinygraph as tg
>>> w = tg.Parameter(np.array([4.0, -2.0]))
>>> optimizer = tg.optim.SGD([w], lr=0.25)
>>> tg.sum(w * w).backward()
>>> optimizer.step(); optimizer.zero_grad(); w.tolist()
[2.0, -1.0]
"""

from .base import Optimizer
from .rules import SGD, AdaGrad, Adam, AdamW, RMSProp
from .schedules import Constant, Cosine, Exponential, Schedule, StepDecay, WarmUp

__all__ = [
    "SGD", "AdaGrad", "Adam", "AdamW", "Constant", "Cosine", "Exponential", "Optimizer", "RMSProp", "Schedule",
    "StepDecay", "WarmUp",
]  # fmt: skip
