"""Module: a layer or a network, with what it learns, what it remembers and where it stands; and Sequential."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..core.convert import operand
from ..core.graph import argument_names
from ..core.scope import Scope, Setting, scope_var, tell_flag
from ..core.tensor import Argument, Parameter, Tensor, describe
from ..errors import ArgumentError, DialectError, DTypeError, IndexingError, ShapeError, TinygraphError, aval

Array = np.ndarray[Any, Any]

# The places of all layers of the model that is being run, and the place of the layer that runs now.
_running: ContextVar[tuple[Mapping[Module, str], str]] = ContextVar(
    "tinygraph_running", default=(MappingProxyType({}), "")
)

# Words of other libraries, for errors.
_WORDS = {
    "to": "dtype= when the layer is made",
    "float": "dtype=np.float32 when the layer is made",
    "double": "dtype=np.float64, the default",
    "half": "dtype=np.float16 when the layer is made",
    "cuda": "nothing: arrays live in main memory",
    "cpu": "nothing: arrays live in main memory",
    "buffers": "named_buffers()",
    "modules": "named_modules()",
    "children": "named_modules()",
    "register_buffer": "self.name = tg.Parameter(value, requires_grad=False)",
    "register_parameter": "self.name = tg.Parameter(value)",
    "add_module": "self.name = layer",
    "append": "nn.Sequential(*net, layer)",
    "named_children": "named_modules()",
    "apply": "a loop over named_modules()",
    "requires_grad_": "p.requires_grad = False for p in parameters()",
    "fit": "a training loop, or a Trainer",
    "predict": "model.eval()(x)",
}


class Module:
    """A layer, or a network of layers: subclass it, make parts in ``__init__``, use them in ``forward``.

    What is assigned to an attribute belongs to the module: a Parameter is learned, a
    ``Parameter(…, requires_grad=False)`` is a buffer, a Module is a part. They are also found in lists, tuples
    and dicts of them. One that is assigned twice, here or in a part, appears once, by its first name.

    Calling a module runs ``forward`` inside a scope with the module's name, so that its picture
    folds: the layer at ``block2.bn`` runs in scope ``bn`` inside ``block2``. The module that is called first
    opens a scope only if it has a ``name``, or is a single layer.

    Raises: ArgumentError if a plain Tensor that requires a gradient is assigned (nothing would train it), or
    a Parameter is overwritten by an array.

    >>> import numpy as np, tinygraph as tg
    >>> class Scale(tg.nn.Module):
    ...     def __init__(self, n):
    ...         self.w = tg.Parameter(np.ones(n), name="w")
    ...     def forward(self, x):
    ...         return self.w * x
    >>> scale = Scale(2)
    >>> scale
    Scale(w: float64[2])
    >>> scale([3.0, 4.0]).tolist(), [name for name, _ in scale.named_parameters()]
    ([3.0, 4.0], ['w'])
    """

    name: str | None = None
    _training: bool = True

    def _no_forward(self, *args: Any, **kwargs: Any) -> Any:
        raise ArgumentError(f"{type(self).__name__}(): it has no forward; write def forward(self, x): … in the class")

    forward: Callable[..., Any] = _no_forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """``forward``, inside the scope of this module."""
        places, caller = _running.get()
        if self in places:
            names = _below(places[self], caller)
        else:
            places, names = {module: place for place, module in self.named_modules()}, self._own_scope()
        named = Setting(scope_var, lambda parent: functools.reduce(_inner, names, parent))
        with named, Setting(_running, lambda _: (places, places[self])):
            return self.forward(*args, **kwargs)

    def _own_scope(self) -> list[str]:
        """The scope of a module that is no part of what runs."""
        single = not any(isinstance(value, Module) for _, value in self._members())
        return [self.name or type(self).__name__] if self.name or single else []

    def argument_names(self, count: int) -> list[str]:
        """What ``forward`` calls its arguments, for traces and checks."""
        return argument_names(self.forward, count)

    # -- what belongs to it ------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        head = f"{type(self).__name__}.{name} = {describe(value)}"
        if name == "name" and not (value is None or isinstance(value, str)):
            raise ArgumentError(f"{head}: a name is a string; write {str(value)!r}")
        if isinstance(value, Tensor) and value.requires_grad and _is_plain_leaf(value):
            raise ArgumentError(f"{head}: a plain Tensor is not trained; write tg.Parameter(data)")
        if isinstance(vars(self).get(name), Parameter) and not (value is None or isinstance(value, Parameter)):
            raise ArgumentError(f"{head}: this would drop the Parameter; write .{name}.assign(value)")
        super().__setattr__(name, value)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            own = [n for n in vars(self) if not n.startswith("_")]
            known = f"write {_WORDS[name]}" if name in _WORDS else f"it has {', '.join(own) or 'none yet'}"
            raise DialectError(f"{type(self).__name__} has no attribute {name!r}: {known}")

    def _members(self) -> Iterator[tuple[str, Any]]:
        """Everything that was assigned, those in containers one by one."""
        for name, value in tuple(vars(self).items()):  # another thread may add to them: a mode, a compiled method
            if isinstance(value, (list, tuple, dict)):
                yield from _spread(name, value)
            else:
                yield name, value

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """``(place, module)`` for this module, whose place is ``""``, and for every part, each once."""
        seen: set[Module] = set()
        waiting: list[tuple[str, Module]] = [("", self)]
        while waiting:
            place, module = waiting.pop()
            if module in seen:
                continue
            seen.add(module)
            yield place, module
            parts = [(_join(place, n), v) for n, v in module._members() if isinstance(v, Module)]
            waiting += reversed(parts)

    def _named(self, kind: type) -> Iterator[tuple[str, Any]]:
        seen: set[Any] = set()
        for place, module in self.named_modules():
            for name, value in module._members():
                if isinstance(value, kind) and value not in seen:
                    seen.add(value)
                    yield _join(place, name), value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """``(name, parameter)`` for everything that is learned, in the order of assignment, each once.

        >>> import tinygraph as tg
        >>> net = tg.nn.Sequential(tg.nn.Linear(2, 3, rng=0), tg.nn.BatchNorm(3))
        >>> [name for name, _ in net.named_parameters()]
        ['0.weight', '0.bias', '1.weight', '1.bias']
        """
        return ((n, p) for n, p in self._named(Parameter) if p.requires_grad)

    def parameters(self) -> Iterator[Parameter]:
        """Everything that is learned, each once."""
        return (p for _, p in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Parameter]]:
        """``(name, buffer)`` for what is remembered and not learned: Parameters that require no gradient."""
        return ((n, p) for n, p in self._named(Parameter) if not p.requires_grad)

    def named_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        """``(name, generator)`` for every random generator: with ``state_dict`` the whole state of the module."""
        return self._named(np.random.Generator)

    # -- modes and gradients -----------------------------------------------------------------------

    @property
    def training(self) -> bool:
        """Whether it is in training mode, as it is at first; else in evaluation mode."""
        tell_flag(self, "_training")
        return self._training

    @training.setter
    def training(self, mode: bool) -> None:
        tell_flag(self, "_training")
        self._training = mode

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and in every part; returns the module."""
        if not isinstance(mode, bool):
            raise ArgumentError(f"train({describe(mode)}): the mode is True or False; write train() or eval()")
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and in every part; returns the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None

    # -- state ---------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Parameter]:
        return dict(self._named(Parameter))

    def state_dict(self) -> dict[str, Array]:
        """All parameters and buffers by name, as read-only arrays that later training does not change.

        >>> import tinygraph as tg
        >>> list(tg.nn.BatchNorm(3).state_dict())
        ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
        """
        return {name: p.numpy() for name, p in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> tuple[list[str], list[str]]:
        """Assign every array of ``state`` to the parameter or buffer of that name; all of them, or none.

        Returns the names that are missing in ``state`` and those that the module does not have; with ``strict``
        both must be empty.

        Raises: ArgumentError for missing or unexpected names, ShapeError, DTypeError; the message lists every misfit, and
        nothing has been assigned.
        """
        if not isinstance(state, Mapping):
            raise ArgumentError(
                f"load_state_dict({describe(state)}): a state is a dict of arrays; give model.state_dict()"
            )
        mine = self._state()
        given = {name: np.asarray(value) for name, value in state.items()}
        missing = [name for name in mine if name not in given]
        unexpected = [str(name) for name in given if name not in mine]
        shared = [name for name in mine if name in given]
        names = [f"missing {', '.join(missing)}"] * bool(missing and strict)
        names += [f"unexpected {', '.join(unexpected)}"] * bool(unexpected and strict)
        shapes = [_misfit(n, given[n], mine[n]) for n in shared if given[n].shape != mine[n].shape]
        dtypes = [_misfit(n, given[n], mine[n]) for n in shared if given[n].dtype != mine[n].dtype]
        for problems, error, mend in (
            (names, ArgumentError, "give the state of a model made in the same way, or strict=False"),
            (shapes, ShapeError, "make the model with the same sizes"),
            (dtypes, DTypeError, "make the model with that dtype, or cast the arrays with .astype"),
        ):
            if problems:
                listed = "; ".join(dict.fromkeys(names + shapes + dtypes))
                raise error(f"load_state_dict({type(self).__name__}): {listed}; {mend}")
        for name in shared:
            mine[name].assign(given[name])
        return missing, unexpected

    # -- words ---------------------------------------------------------------------------------------

    @property
    def place(self) -> str:
        """Where it stands in the model that is being run, such as ``block2.bn``; else its own name, or ``""``."""
        return _running.get()[0].get(self) or self.name or ""

    def head(self, *operands: Any) -> str:
        """How an error of this layer begins: ``block2.bn: BatchNorm(float64[2,3] x)``."""
        place = f"{self.place}: " if self.place else ""
        return f"{place}{type(self).__name__}({', '.join(map(describe, operands))})"

    def operand(self, x: Any) -> Tensor:
        """What the layer is given, as a Tensor. Raises: DTypeError or ShapeError in the layer's name if it holds no numbers."""
        try:
            return operand(x)
        except TinygraphError as error:
            raise type(error)(f"{self.head(x)}: {str(error).partition(': ')[2]}") from error

    def extra_repr(self) -> str:
        """What ``repr`` writes between the brackets; by default the module's own parameters."""
        own = [(n, p) for n, p in self._members() if isinstance(p, Parameter)]
        return ", ".join(f"{n}: {aval(p.dtype, p.shape)}" for n, p in own)

    def __repr__(self) -> str:
        head, extra = type(self).__name__, self.extra_repr()
        parts = [(n, v) for n, v in self._members() if isinstance(v, Module)]
        if not parts:
            return f"{head}({extra})"
        lines = [extra] * bool(extra) + [f"{n}: {v!r}" for n, v in parts]
        return f"{head}(\n" + "\n".join("  " + row for line in lines for row in line.split("\n")) + "\n)"


def _is_plain_leaf(value: Tensor) -> bool:
    return value.node is None and not isinstance(value, (Parameter, Argument))


def _inner(parent: Scope | None, name: str) -> Scope:
    return Scope(name, parent)


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _below(place: str, caller: str) -> list[str]:
    """The names that lead from the caller to a place: those that the caller's own scope does not hold."""
    inside = place.startswith(f"{caller}.") if caller else True
    return [name for name in (place[len(caller) :] if inside else place).split(".") if name]


def _spread(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not _holds_members(value):
        yield name, value
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _spread(f"{name}.{key}", item)


def _holds_members(value: Any) -> bool:
    """Whether there is a Module or a Parameter anywhere in a container."""
    if not isinstance(value, (list, tuple, dict)):
        return False
    items = value.values() if isinstance(value, dict) else value
    return any(isinstance(item, (Module, Parameter)) or _holds_members(item) for item in items)


def _misfit(name: str, given: Array, due: Parameter) -> str:
    return f"{name} is {aval(given.dtype, given.shape)}, {aval(due.dtype, due.shape)} is due"


class Sequential(Module):
    """Layers one after the other: ``Sequential(a, b)``, or with names, ``Sequential({"in": a, "out": b})``.

    It has a length, iterates, and is indexed by number, by slice (a Sequential again) or by name.

    Raises: ArgumentError for what is no layer, or a name that cannot be an attribute.

    >>> import tinygraph as tg
    >>> net = tg.nn.Sequential(tg.nn.Flatten(), tg.nn.Linear(4, 2, rng=0))
    >>> len(net), net[1], net(tg.tensor([[[1.0, 2.0], [3.0, 4.0]]])).shape
    (2, Linear(4, 2), (1, 2))
    """

    def __init__(self, *layers: Any) -> None:
        named = layers[0] if len(layers) == 1 and isinstance(layers[0], Mapping) else dict(enumerate(layers))
        for key, layer in named.items():
            if not isinstance(layer, Module):
                raise ArgumentError(f"Sequential: {_not_a_layer(key, layer)}")
            name = str(key)
            if not name or "." in name or hasattr(type(self), name):
                raise ArgumentError(f"Sequential: {name!r} cannot name a layer; take another word, without dots")
            setattr(self, name, layer)

    def _layers(self) -> dict[str, Module]:
        return {name: value for name, value in tuple(vars(self).items()) if isinstance(value, Module)}

    def __len__(self) -> int:
        return len(self._layers())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers().values())

    def __getitem__(self, key: Any) -> Any:
        layers = self._layers()
        if isinstance(key, slice):
            return Sequential(dict(list(layers.items())[key]))
        try:
            return layers[key] if isinstance(key, str) else list(layers.values())[key]
        except (IndexError, KeyError, TypeError) as error:
            raise _no_such(key, layers) from error

    def forward(self, x: Any) -> Any:
        """Every layer in turn."""
        for layer in self:
            x = layer(x)
        return x


def _no_such(key: Any, layers: Mapping[str, Module]) -> IndexingError:
    return IndexingError(
        f"Sequential[{key!r}]: it has {len(layers)} layers, {', '.join(layers)}; give one of these, or a number"
    )


def _not_a_layer(key: Any, layer: Any) -> str:
    if isinstance(layer, type) and issubclass(layer, Module):
        return f"layer {key} is the class {layer.__name__}; write {layer.__name__}()"
    if isinstance(layer, (list, tuple)):
        return f"layer {key} is a {type(layer).__name__}; write Sequential(*layers)"
    name = getattr(layer, "__name__", type(layer).__name__)
    return f"layer {key} is {name}, no Module; write a layer such as nn.ReLU()"
