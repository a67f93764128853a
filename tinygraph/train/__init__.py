"""The training loop: ``Trainer(model, optimizer, loss).fit(data, epochs=…)``, and the ``History`` that it returns."""

from .history import History
from .trainer import Trainer, accuracy

__all__ = ["History", "Trainer", "accuracy"]
