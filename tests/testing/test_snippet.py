"""Reproductions run in a fresh interpreter that has neither tinygraph nor Hypothesis, and give what the kernel gave."""

import collections
import dataclasses
import enum
import functools
import importlib
import json
import math
import math as m
import subprocess
import sys
import textwrap
from functools import partial
from math import tau as TAU

import numpy as np
import numpy.linalg as la
import pytest
from hypothesis import strategies as st

import tinygraph as tg
from tinygraph.testing import Problem, from_torch
from tinygraph.testing.kernel import Kernel
from tinygraph.testing.snippet import snippet

assert st
SCALE, NONE, EPS = 3.0, None, 1e-3
ARR, TABLE = np.array([1.0, 2.0]), {"a": 2.0, "b": [np.array([0.5]), {"c": (1,)}]}
MEMORY = dy = x = 5.0  # as arrays of a reproduction are called
s = tg  # a name that some attribute has too
INF = -math.inf


def helper(a):
    return np.tanh(a) + EPS


def outer(a):
    return helper(a) * SCALE


def with_helpers(dy, x):
    return dy * (1 - outer(x) ** 2)


def with_array(dy, x):
    return dy * ARR


def with_dict(dy, x):
    return dy * TABLE["a"] * TABLE["b"][0] * TABLE["b"][1]["c"][0]


def with_modules(dy, x):
    return dy * m.cos(1.0) + la.norm(x) + math.sin(1.0)


def with_imported_number(dy, x):
    return dy * TAU + max(INF, 1.0)


def with_none(dy, x):
    return dy * (2 if NONE is None else 3)


class Shape:
    s = 2.0


def with_attribute(dy, x):
    return dy * Shape.s


def of_x(a):
    return a * x


def with_the_name_of_an_array(dy, x):
    return of_x(dy) + MEMORY


class Layer:
    eps: float = 1e-5

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, dy, x):
        return dy * self.scale

    def backward(self, dy: np.ndarray, x: "tg.Tensor") -> "tg.Tensor":
        return dy * self.eps * self.scale + EPS

    @staticmethod
    def fixed(dy, x):
        return dy * 3

    @classmethod
    def of_class(cls, dy, x):
        return dy * cls.eps


class Deeper(Layer):
    def __call__(self, dy, x):
        return super().__call__(dy, x) + 1


class Mode(enum.Enum):
    SUM = 2.0
    MEAN = 3.0


@dataclasses.dataclass(frozen=True)
class Config:
    mode: Mode = Mode.MEAN
    table: np.ndarray = dataclasses.field(default_factory=lambda: ARR)


class Slotted:
    __slots__ = ("k",)

    def __init__(self):
        self.k = 7.0


CONFIG, SLOTTED = Config(), Slotted()


def with_instances(dy, x):
    return dy * CONFIG.mode.value * CONFIG.table + SLOTTED.k + (CONFIG.mode is Mode.MEAN)


def closure(k, arr):
    def inner(dy, x):
        return dy * k * arr

    return inner


first, second = closure(2.0, 1.0), closure(3.0, ARR)


def two_closures(dy, x):
    return first(dy, x) + second(dy, x)


def late_closure():
    def inner(dy, x):
        return dy * later * sum(v * later for v in x.ravel())

    later = 5.0
    return inner


def doubled(f):
    @functools.wraps(f)
    def wrapper(dy, x):
        return f(dy, x) * 2

    return wrapper


@doubled
def decorated(dy, x):
    return dy * 1.0


@functools.lru_cache(3)
def cached(n):
    return n * SCALE


def with_cached(dy, x):
    return dy * cached(2)


def with_defaults(dy, x, scale=SCALE, xp=np, *, table=TABLE["a"], f=lambda v: v * 2):
    return xp.multiply(dy, scale) * f(table)


def annotated(dy: "np.ndarray", x: (st.SearchStrategy), name="é", *, k: tg.Tensor = 2.0) -> tg.Tensor:
    return dy * k + len(name)  # a comment stays


def passes_on(dy, x):
    return with_helpers(dy, x)


def passes_more(dy, x):
    """Passes on."""
    return keyword_only(dy * EPS, x, s=SCALE)


def other_names(g, a):
    return with_helpers(g, a)


def keyword_only(dy, x, *, s=2.0):
    return dy * s


def recursive(dy, x, n=2):
    return dy * 2 if n == 0 else recursive(dy, x, n - 1)


@doubled
def decorated_and_recursive(dy, x):
    return dy if dy.sum() > 5 else decorated_and_recursive(dy * 2, x)


def again(dy, x):
    return repeated(dy, x, 1) if dy.sum() < 5 else dy


def repeated(dy, x, n):
    return again_by_name(dy * 2, x) + n


again_by_name = again


def even(dy, x, n=3):
    return dy * 2 if n == 0 else odd(dy, x, n - 1)


def odd(dy, x, n=3):
    return dy * 3 if n == 0 else even(dy, x, n - 1)


def nested(dy, x):
    def scaled(a):
        return a * SCALE

    return np.array([[scaled(v) * len(row) for v in row] for row in dy])


def builtin_names(dy, x):
    return dy * sum([1.0, 2.0]) + abs(-1)


def of_k(k):
    return lambda dy, x: dy * k


def of_outer_x(x):
    return lambda dy, y: dy * x


lam1, lam2 = (lambda dy, x: dy * 2), (lambda dy, x: dy * 3)
lambda_lines = (
    lambda dy, x:
    dy *
    SCALE
)  # fmt: skip
lambda_default = lambda dy, x, s=SCALE: dy * s
lambda_in = [lambda dy, x: dy * max([SCALE, 1.0], key=lambda a: a * 5), lambda dy, x: dy * 6][0]
ordered = collections.OrderedDict(k=2.0)

CASES = {
    f.__name__: f
    for f in (
        with_helpers, with_array, with_dict, with_modules, with_imported_number, with_none, with_attribute,
        with_the_name_of_an_array, with_instances, two_closures, decorated, with_cached, with_defaults, annotated, passes_on,
        passes_more, other_names, keyword_only, recursive, again, even, nested, builtin_names,
    )
} | {
    "instance": Layer(2.0), "super": Deeper(2.0), "method": Layer(2.0).backward, "static": Layer.fixed,
    "class method": Layer.of_class, "closure": closure(2.0, 1.0), "closure of an array": closure(2.0, ARR),
    "late": late_closure(), "first lambda": lam1, "second lambda": lam2, "lambda in lines": lambda_lines,
    "lambda with default": lambda_default, "lambda inside": lambda_in, "partial": partial(closure(2.0, ARR)),
    "partial with keyword": partial(keyword_only, s=SCALE), "lambda of closure": of_k(4.0),
    "lambda of x": of_outer_x(4.0),
    "pickled": lambda dy, x: dy * ordered["k"],
}  # fmt: skip

INPUTS = {"x": np.array([[0.5, -1.0], [2.0, 0.25], [-0.125, 1.5]])}
DY = np.array([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.75]])


def run(texts, *paths):
    """What the last lines of some reproductions give, each in a namespace of its own in one fresh interpreter."""
    script = textwrap.dedent("""
        import ast, json, sys, warnings
        warnings.simplefilter("error")
        for name in ("tinygraph", "hypothesis", "pytest"):
            sys.modules[name] = None
        sys.path[:0] = json.loads(sys.argv[1])
        found = []
        for text in json.load(sys.stdin):
            *body, last = ast.parse(text).body
            space = {}
            try:
                exec(compile(ast.Module(body, []), "pasted", "exec"), space)
                value = eval(compile(ast.Expression(last.value), "pasted", "eval"), space)
                found.append(getattr(value, "tolist", lambda: value)())
            except Exception as error:
                found.append(f"{type(error).__name__}: {error}")
        print(json.dumps(found))
    """)
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, json.dumps([str(p) for p in paths])], input=json.dumps(texts),
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    return json.loads(done.stdout)


def written(fn, inputs=INPUTS, dy=DY, **more):
    return snippet(fn, Problem(dy=dy, specs=inputs), list(inputs), "", None, **more)


@pytest.fixture(scope="module")
def reproduced():
    texts = {name: written(fn) for name, fn in CASES.items()}
    return {name: (texts[name], got) for name, got in zip(texts, run(list(texts.values())), strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_of_the_test_file_is_written_out(reproduced, name):
    text, found = reproduced[name]
    assert found == CASES[name](DY, INPUTS["x"]).tolist(), text
    assert "tinygraph" not in text
    assert "in your own session" not in text


def test_what_is_written_is_what_is_needed(reproduced):
    assert reproduced["with_attribute"][0].splitlines()[1:4] == [
        "class Shape:",
        "    s = 2.0",
        "def with_attribute(dy, x):",
    ]
    assert reproduced["annotated"][0].splitlines()[1:3] == [
        'def annotated(dy, x, name="é", *, k = 2.0):',
        "    return dy * k + len(name)  # a comment stays",
    ]
    assert reproduced["passes_on"][0].endswith("\nwith_helpers(dy, x)")
    assert reproduced["second lambda"][0].splitlines()[1] == "backward = lambda dy, x: dy * 3"


# -- what a kernel is called with besides ------------------------------------------------------------

SAVED = {
    "function": (lambda dy, e, x: dy * e + x, {"saved": lambda x: np.exp(x) * SCALE}),
    "value": (lambda dy, kept, x: dy * kept[0] + kept[1], {"saved": (ARR, 2.0)}),
    "array": (lambda dy, kept, x: dy * kept, {"saved": ARR}),
    "alone": (lambda dy, kept: dy * kept, {"saved": helper}),
    "extras": (lambda dy, x, k: dy * k, {"extras": lambda x: {"k": x.sum() + EPS}}),
    "dict": (lambda dy, x, k, eps: dy * k + eps, {"extras": {"k": ARR, "eps": 1e-5}}),
    "both": (lambda dy, kept, x, *, k: dy * k * kept, {"saved": lambda x: x**2, "extras": {"k": 2.0}}),
}


def test_saved_and_extras_are_written():
    texts, due = [], []
    for fn, more in SAVED.values():
        texts.append(written(fn, **more))
        due.append(Kernel(fn, ["x"], ["x"], more.get("extras"), more.get("saved"))(DY, [INPUTS["x"]])[0].tolist())
    assert run(texts) == due, texts


def test_a_forward_is_called_without_dy():
    text = written(helper, upstream=False)
    assert "dy" not in text
    assert run([text]) == [helper(INPUTS["x"]).tolist()]


# -- layouts -------------------------------------------------------------------------------------------


def strides_of(dy, x):
    return np.array([*dy.strides, *x.strides, dy.flags.writeable, x.flags.writeable, np.shares_memory(dy, x)])


def test_arrays_lie_as_they_lay():
    memory = np.arange(7.0)
    fixed = DY.copy()
    fixed.flags.writeable = False
    gaps = np.full((6, 4), np.nan)
    gaps[::2, ::2] = DY
    pairs = [(memory[1:], memory[:-1]), (fixed, DY), (gaps[::2, ::2], DY.T), (DY, DY), (DY[::-1], gaps[::2, ::2])]
    pairs += [(np.broadcast_to(DY[:1], DY.shape), np.arange(999.0)[::-3])]
    texts = [written(strides_of, {"x": x}, dy) for dy, x in pairs]
    assert run(texts) == [strides_of(dy, x).tolist() for dy, x in pairs], texts


def test_the_name_of_shared_memory_is_free():
    memory = np.arange(4.0)

    def kernel(dy, memory):
        return dy * memory

    text = written(kernel, {"memory": memory[1:]}, memory[:-1])
    assert run([text]) == [kernel(memory[:-1], memory[1:]).tolist()], text


# -- modules of the user's -----------------------------------------------------------------------------

MODULES = {
    "plain_kernels_of_mine": """
        import numpy as np
        SCALE = 4.0
        def helper(dy, x):
            return dy * SCALE
        def backward(dy, x):
            return helper(dy, x) + 1
    """,
    "layers_of_mine": """
        import numpy as np
        import tinygraph as tg
        import plain_kernels_of_mine as plain
        SCALE = 6.0
        def reference(x):
            return tg.tanh(x)
        def backward(dy, x):
            return plain.helper(dy, x) * SCALE
    """,
    "uses_layers_of_mine": """
        import layers_of_mine as layers
        import layers_of_mine
        def backward(dy, x):
            return layers.backward(dy, x) + layers_of_mine.SCALE + layers.plain.SCALE
    """,
}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


def test_a_module_is_imported_unless_it_imports_tinygraph(mine, tmp_path):
    plain, layers, uses = mine.values()

    def through_module(dy, x):
        return layers.backward(dy, x)

    kernels = [plain.backward, layers.backward, through_module, uses.backward]
    texts = [written(fn) for fn in kernels]
    assert texts[0].splitlines()[1] == "from plain_kernels_of_mine import backward"
    assert texts[1].splitlines()[1] == "import plain_kernels_of_mine as plain"
    assert texts[2].count("layers") > 1
    assert "import layers" not in texts[2]
    assert "import layers" not in texts[3]
    assert run(texts, tmp_path) == [fn(DY, INPUTS["x"]).tolist() for fn in kernels], texts


def test_adapters_are_imported():
    def kernel(dy, x):
        return dy * SCALE

    adapted = functools.update_wrapper(lambda dy, x: kernel(dy, x), kernel)
    adapted.adapter = from_torch.__name__
    lines = written(adapted).splitlines()
    assert lines[1] == "from tinygraph.testing import from_torch"
    assert lines[-1] == "from_torch(kernel)(dy, x)"
    assert "SCALE = 3.0" in lines


# -- where there is no source ----------------------------------------------------------------------


def test_without_a_source_the_call_is_for_the_own_session():
    space = {"np": np}
    exec("def unseen(dy, x): return dy * 2", space)
    unseen = space["unseen"]

    def indirect(dy, x):
        return unseen(dy, x) + 1

    big = np.zeros(10**6)
    for fn, what, call in (
        (unseen, "the function unseen", "unseen(dy, x)"),
        (indirect, "the function unseen", "backward(dy, x)"),
        (lambda dy, x: dy * big[0], "big, an array of 1000000 elements", "backward(dy, x)"),
        (partial(keyword_only, s=(i for i in ())), "s, of type generator", "backward(dy, x)"),
    ):
        lines = written(fn).splitlines()
        assert lines[0] == f"# in your own session ({what} cannot be written here):"
        assert lines[1].startswith("import numpy")
        assert lines[-1] == call


def test_a_function_that_refers_to_what_is_made_of_it():
    text = written(decorated_and_recursive)
    assert text.startswith("# in your own session (decorated_and_recursive, which refers to itself cannot be")


def test_a_page_of_text_with_code_in_it(tmp_path):
    page, code = tmp_path / "page.md", "def kernel(dy, x):\n    return dy * 2\n\nbackward = lambda dy, x: dy * 3\n"
    page.write_text("It's prose (\n\n" + code + "\nand *more* of it.\n")
    space = {}
    exec(compile("\n\n" + code, str(page), "exec"), space)
    assert written(space["kernel"]).splitlines()[1:3] == code.splitlines()[:2]
    assert written(space["backward"]).splitlines()[1] == "backward = lambda dy, x: dy * 3"


def test_an_object_that_raises_does_not_stop_the_report():
    class Hostile:
        def __getattr__(self, name):
            raise RuntimeError(name)

        def __call__(self, dy, x):
            return dy

    assert written(Hostile()).endswith("(dy, x)")


def test_what_it_should_be():
    def kernel(dy, x):
        return dy, dy

    problem = Problem(x=np.ones(2), dy=np.ones(2))
    line = snippet(kernel, problem, ["x"], "[1]", np.array([1 / 3, 2.0])).splitlines()[-1]
    assert line == "kernel(dy, x)[1]   # should be [0.333333, 2.0]"
    assert snippet(kernel, problem, ["x"], "", np.array([1e-7 / 3])).endswith("# should be [3.33333e-08]")
    assert snippet(kernel, problem, ["x"], "", np.arange(100.0)).endswith(
        "# should be [0.0, 1.0, 2.0] … at its first elements"
    )
