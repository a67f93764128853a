"""The picture as plain data: complete, valid JSON, and of bounded size."""

import json

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.picture import export
from tinygraph.picture.model import View


def seen(y, **options):
    return tg.draw(y, **options).view


def exported(y, **options):
    record = export.record(seen(y, **options))
    assert json.loads(json.dumps(record, allow_nan=False)) == record  # nothing but JSON's own kinds
    return record


def test_everything_is_there(bn):
    view = seen(bn.y, names=bn.names, title="BatchNorm")
    record = exported(bn.y, names=bn.names, title="BatchNorm")
    assert (record["title"], record["mode"], record["rankdir"]) == ("BatchNorm", "both", "LR")
    assert record["counts"] == {"ops": 9, "tensors": 14, "scopes": 5}
    assert record["legend"] == [list(line) for line in view.legend]
    assert record["folded"] == {"folds": 0, "nodes": 0}
    assert record["shortened"] is False
    assert [node["id"] for node in record["nodes"]] == [node.id for node in view.nodes]
    assert [edge["id"] for edge in record["edges"]] == [edge.id for edge in view.edges]
    assert [box["name"] for box in record["boxes"]] == ["mean", "centre", "variance", "normalise", "scale and shift"]
    assert record["steps"] == export.steps(view)
    assert len(record["steps"]) == 19


def test_a_tensor(bn):
    nodes = {node["name"]: node for node in exported(bn.y, names=bn.names)["nodes"] if node["kind"] == "tensor"}
    sigma, centred = nodes["σ"], nodes["x−μ"]
    assert (sigma["role"], sigma["shape"], sigma["dtype"]) == ("wire", [3], "float64")
    values = np.fromstring(sigma["data"].strip("[]").replace("−", "-"), sep=" ")
    assert values == pytest.approx(bn.names["σ"].numpy(), abs=1e-4)
    assert sigma["gradient"].startswith("∂ [")
    assert sigma["cotangent"].startswith("[")
    assert centred["uses"] == ["op3", "op7"]
    assert centred["data"].count("[") == 5
    assert nodes["y"]["uses"] == []


def test_an_op_says_its_rules(bn):
    ops = {node["caption"]: node for node in exported(bn.y, names=bn.names)["nodes"] if node["kind"] == "op"}
    assert ops["div"]["rules"][0] == "∂(x−μ) = ∂x̂/σ"
    assert ops["div"]["text"] == "div(x−μ, σ)"


def test_steps_say_what_is_added_up(bn):
    steps = exported(bn.y, names=bn.names)["steps"]
    assert [step["dir"] for step in steps] == ["forward"] * 9 + ["seed"] + ["backward"] * 9
    sums = [c["shown"] for step in steps for c in step["contributions"] if c["wire"] == "v3"]
    assert [text.split()[1] for text in sums] == ["1/2", "Σ"]
    edges = {edge["id"] for edge in exported(bn.y)["edges"]}
    assert all(set(step["edges"]) <= edges for step in steps)


def test_numbers_that_are_not_finite():
    x = tg.tensor([np.nan, np.inf, -np.inf], requires_grad=True, name="x")
    node = exported(tg.exp(x))["nodes"][0]
    assert node["data"].strip("[]").split() == ["nan", "inf", "−inf"]
    assert node["finite"] is False


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32, np.complex128])
def test_every_kind_of_number(dtype):
    x = tg.tensor(np.array([1, 0], dtype), name="x")
    assert exported(tg.concatenate([x, x]))["nodes"][0]["dtype"] == np.dtype(dtype).name


def test_large_arrays_are_summed_up():
    x = tg.tensor(np.arange(1000.0), name="x")
    assert exported(x * 1.0)["nodes"][0]["data"].count(".") == 1000
    x = tg.tensor(np.arange(1001.0), name="x")
    assert exported(x * 1.0)["nodes"][0]["data"] == "1\u00a0001 elements\n500.00 ± 288.96\n0.0e+00 … 1.0e+03"


def test_a_record_has_a_limit(monkeypatch):
    x = tg.tensor(np.arange(8.0), name="x", requires_grad=True)
    y = tg.exp(x)
    y.backward(np.ones(8))
    monkeypatch.setattr(export, "LIMIT", 60)
    record = exported(y)
    assert record["shortened"] is True
    assert record["nodes"][0]["data"] == "[0. 1. 2. 3. 4. 5. 6. 7.]"  # there was room for the first
    assert record["nodes"][2]["data"] == record["nodes"][2]["value"]


def test_names_are_clean():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="\ud800\x00<x>")
    with tg.scope("a\ud800\x00"):
        y = tg.exp(x)
    record = exported(y)
    assert record["nodes"][0]["name"] == "?<x>"
    assert record["boxes"][0]["name"] == "a?"
    json.dumps(record, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "options", [{"formatter": {"float": lambda v: "?"}}, {"sign": "+"}, {"legacy": "1.13"}, {"nanstr": "N"}]
)
def test_how_the_user_prints_arrays_changes_nothing(options):
    x = tg.tensor([1.0, np.nan, -2.0], requires_grad=True, name="x")
    view = tg.draw(tg.exp(x)).view
    before = export.record(view)
    with np.printoptions(**options):
        assert export.record(view) == before


def test_an_empty_view():
    record = export.record(View("", (), "LR", (), (), ()))
    assert record["nodes"] == record["edges"] == record["boxes"] == record["steps"] == []
