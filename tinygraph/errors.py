"""The exception tree: every error is a ``TinygraphError`` and also what a NumPy user would catch.

::

    TinygraphError
    ├── ShapeError (ValueError)           shapes that do not fit
    │   └── AxisError (IndexError)        an axis that the array does not have
    ├── DTypeError (TypeError)            a dtype, or a foreign type, that an op cannot take
    ├── ArgumentError (TypeError)         a wrong keyword or a wrong number of operands
    │   └── DialectError (AttributeError) the right idea in another library's words
    ├── IndexingError (IndexError)        an index out of range or of the wrong kind
    ├── GradientError (RuntimeError)      a derivative that cannot be taken
    │   └── StaleError                    a parameter was assigned between forward and backward
    ├── TraceError (RuntimeError)         a value is read that a traced graph cannot know
    ├── AnomalyError (FloatingPointError) the first nan or inf, under ``debug_anomaly``
    ├── GradientMismatch (AssertionError) a backward that is not the derived one
    ├── NotAlgebraic (TypeError)          an operation that a proof over a field cannot follow
    ├── DataError (ValueError)            a data file that is broken, too large, or another's
    ├── DataMissing (FileNotFoundError)   a data file that is not there
    ├── CheckpointError (ValueError)      a value that no checkpoint holds, or a file that is none
    ├── ExportError (BufferError)         an array that cannot be handed to another library
    ├── DistributedError (RuntimeError)   processes that do not find each other, or do not agree
    │   └── CoordinatorMissing (TimeoutError) nobody answers at the coordinator's address
    ├── DeviceError (RuntimeError)        values on a device that cannot be fetched
    ├── MissingExtra (ImportError)        an optional dependency is not installed
    └── RenderError                       a picture that cannot be made
        ├── GraphvizNotFound, GraphvizError (RuntimeError)
        ├── RenderTimeout (TimeoutError)
        └── GraphTooLarge (ValueError)

Messages read ``op(float64[2,3] x, float32[4]): what is wrong; how to mend it``.
"""


class TinygraphError(Exception):
    """Base of every error that tinygraph raises on purpose."""


class ShapeError(TinygraphError, ValueError):
    """Shapes that do not fit each other or the operation."""


class AxisError(ShapeError, IndexError):
    """An axis that the array does not have, or has twice."""


class DTypeError(TinygraphError, TypeError):
    """A dtype, or a type of object, that an operation cannot take."""


class ArgumentError(TinygraphError, TypeError):
    """A keyword that does not exist, or a wrong number of operands."""


class DialectError(ArgumentError, AttributeError):
    """A name of another library; the message gives ours."""


class IndexingError(TinygraphError, IndexError):
    """An index that is out of range or of a kind that arrays do not take."""


class GradientError(TinygraphError, RuntimeError):
    """A derivative that cannot be taken as asked."""


class StaleError(GradientError):
    """A parameter was assigned after the forward pass that read it."""


class TraceError(TinygraphError, RuntimeError):
    """A value is read while its function is traced; the graph would hold for this one value only."""


class AnomalyError(TinygraphError, FloatingPointError):
    """The first operation that made nan or inf, found by ``debug_anomaly``."""


class GradientMismatch(TinygraphError, AssertionError):
    """A backward that is not the derivative of its reference; ``report`` says where, and why.

    Its text is written when it is asked for, since that calls the doctor.
    """

    def __init__(self, report: object) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return str(self.report)


class NotAlgebraic(TinygraphError, TypeError):
    """An operation that has no exact counterpart in a finite field."""


class DataError(TinygraphError, ValueError):
    """A data file that is broken, too large, or not what it should be."""


class DataMissing(TinygraphError, FileNotFoundError):
    """A data file that is not there; the message says where to put it."""


class CheckpointError(TinygraphError, ValueError):
    """A value that a checkpoint cannot hold, or a file that is no whole checkpoint."""


class ExportError(TinygraphError, BufferError):
    """An array that cannot be handed to another library by DLPack as asked."""


class DistributedError(TinygraphError, RuntimeError):
    """Processes of one job that do not find each other, or do not agree."""


class CoordinatorMissing(DistributedError, TimeoutError):
    """Nobody answers at the address of a job's coordinator."""


class DeviceError(TinygraphError, RuntimeError):
    """Values on a device, or on several, that cannot be fetched."""


class MissingExtra(TinygraphError, ImportError):
    """An optional dependency that is not installed; the message names the extra."""


class RenderError(TinygraphError):
    """A picture that cannot be made."""


class GraphvizNotFound(RenderError, RuntimeError):
    """No Graphviz engine was found for a format that needs one."""


class GraphvizError(RenderError, RuntimeError):
    """A Graphviz engine ran and failed."""


class RenderTimeout(RenderError, TimeoutError):
    """A layout took longer than its time limit."""


class GraphTooLarge(RenderError, ValueError):
    """A graph with more nodes than a readable picture can hold."""


class GraphFoldedWarning(UserWarning):
    """A picture was too large to read, so parts of it were folded."""


class GraphGrowthWarning(UserWarning):
    """A running total keeps every step's graph alive."""


def aval(dtype: object, shape: tuple[int, ...]) -> str:
    """``float64[2,3]``: how messages, listings and pictures write an array's type."""
    return f"{dtype}[{','.join(map(str, shape))}]"
