"""The training loop: ``Trainer(model, optimizer, loss).fit(data, epochs=…)``, and the ``History`` that it returns."""

from .history import History
from .measure import accuracy
from .trainer import Trainer

__all__ = ["History", "Trainer", "accuracy"]
