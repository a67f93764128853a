"""Dataset and Batches: rows stay together; an order is fixed by seed and epoch; resuming is bitwise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygraph as tg
from tinygraph.data import Batches, Dataset
from tinygraph.errors import ArgumentError, DTypeError, ShapeError


def numbered(n, width=2):
    return Dataset(x=np.arange(n * width, dtype=float).reshape(n, width), y=np.arange(n))


def test_rows_by_every_kind_of_key():
    data = numbered(5)
    assert (len(data), data.names) == (5, ("x", "y"))
    for key in (3, slice(1, 4), [0, 2], np.array([4, 4]), np.arange(5) > 2, slice(None, None, -1), []):
        x, y = data[key]
        np.testing.assert_array_equal(x, data["x"][np.asarray(key, int) if isinstance(key, list) else key])
        np.testing.assert_array_equal(x[..., 0], 2 * y)
    assert [int(y) for _, y in data] == [0, 1, 2, 3, 4]
    assert repr(data) == "Dataset(5 examples: x float64[5,2], y int64[5])"


def test_arrays_are_shared_and_read_only():
    mine = np.zeros(3)
    data = Dataset(x=mine, t=tg.tensor([1.0, 2.0, 3.0]))
    assert np.shares_memory(data["x"], mine)
    assert mine.flags.writeable
    for array in (data["x"], data["t"], data[:2][0]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@given(st.integers(0, 60), st.lists(st.floats(0.01, 1), min_size=1, max_size=4), st.none() | st.integers(0, 9))
def test_a_split_loses_nothing(n, weights, rng):
    fractions = [w / sum(weights) for w in weights]
    parts = numbered(n).split(fractions, rng)
    assert len(parts) == len(fractions)
    rows = np.concatenate([part["y"] for part in parts])
    assert sorted(rows) == list(range(n))
    if rng is None:
        assert list(rows) == list(range(n))
    for part, f in zip(parts, fractions, strict=True):
        assert abs(len(part) - n * f) <= 1
        np.testing.assert_array_equal(part["x"][:, 0], 2 * part["y"])


def test_a_split_by_a_seed_is_repeatable_and_shuffled():
    one, two = (numbered(50).split([0.5, 0.5], rng)[0]["y"] for rng in (3, np.random.default_rng(3)))
    np.testing.assert_array_equal(one, two)
    assert list(one) != list(range(25))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardise(rng, dtype):
    x = (rng.normal(size=(40, 3)) * [1, 5, 0] + [0, 7, 2]).astype(dtype)
    train, test = Dataset(x=x[:30], y=np.arange(30)), Dataset(x=x[30:], y=np.arange(10))
    scaled, other = train.standardise(), test.standardise("x", by=train)
    mean, std = x[:30].mean(0, dtype=float), x[:30].std(0, dtype=float)
    std[2] = 1
    assert scaled["x"].dtype == other["x"].dtype == dtype
    np.testing.assert_allclose(scaled["x"], (x[:30] - mean) / std, atol=1e-6)
    np.testing.assert_allclose(other["x"], (x[30:] - mean) / std, atol=1e-6)
    np.testing.assert_allclose(scaled["x"].mean(0), 0, atol=1e-6)
    whole = train.standardise(axis=(0, 1))
    assert whole["x"].std() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(train["x"], x[:30])


REFUSED = {
    "nothing": (lambda: Dataset(), ArgumentError, "holds no array"),
    "lengths": (lambda: Dataset(x=np.ones(3), y=np.ones(4)), ShapeError, "x 3, y 4"),
    "a number": (lambda: Dataset(x=1.0), ShapeError, "has no rows"),
    "text": (lambda: Dataset(x=["a"]), DTypeError, "encode it"),
    "objects": (lambda: Dataset(x=[None]), DTypeError, "object"),
    "name": (lambda: numbered(3)["z"], ArgumentError, "it has x, y"),
    "float row": (lambda: numbered(3)[1.0], ArgumentError, "rows are"),
    "true row": (lambda: numbered(3)[True], ArgumentError, "rows are"),
    "two axes": (lambda: numbered(3)[0, 1], ArgumentError, "rows are"),
    "take one": (lambda: numbered(3).take(1), ArgumentError, r"take\(\[1\]\)"),
    "sum": (lambda: numbered(3).split([0.5, 0.4]), ArgumentError, "sum to 1"),
    "nan": (lambda: numbered(3).split([np.nan, 1]), ArgumentError, "sum to 1"),
    "negative": (lambda: numbered(3).split([1.5, -0.5]), ArgumentError, "sum to 1"),
    "integers": (lambda: numbered(3).standardise("y"), DTypeError, "only floats"),
    "arrays": (lambda: Batches(np.ones(3), 1), ArgumentError, "give a Dataset"),
    "size 0": (lambda: Batches(numbered(3), 0), ArgumentError, "size=0"),
    "size 1.5": (lambda: Batches(numbered(3), 1.5), ArgumentError, "size=1.5"),
    "no whole batch": (lambda: Batches(numbered(3), 4, drop_last=True), ArgumentError, "no whole batch"),
    "seed": (lambda: Batches(numbered(3), 1, rng=-1), ArgumentError, "rng=-1"),
    "seed of text": (lambda: Batches(numbered(3), 1, rng="0"), ArgumentError, "rng='0'"),
}


@pytest.mark.parametrize(("call", "error", "match"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


# -- batches ----------------------------------------------------------------------------------------


def rows(batches):
    return [list(map(int, y)) for _, y in batches]


@given(st.integers(1, 30), st.integers(1, 12), st.booleans(), st.integers(0, 99))
def test_an_epoch_holds_every_row_once(n, size, drop_last, seed):
    if drop_last and size > n:
        return
    batches = Batches(numbered(n), size, rng=seed, drop_last=drop_last)
    for epoch in range(3):
        assert batches.epoch == epoch
        found = rows(batches)
        assert len(found) == len(batches)
        assert {len(b) for b in found[:-1]} <= {size}
        flat = [row for batch in found for row in batch]
        assert len(set(flat)) == len(flat) == (n // size * size if drop_last else n)


def test_the_order_is_the_one_of_seed_and_epoch():
    one, two = (Batches(numbered(20), 6, rng=5) for _ in range(2))
    epochs = [rows(one) for _ in range(3)]
    assert epochs == [rows(two) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert rows(Batches(numbered(20), 6, rng=6)) != epochs[0]
    two.epoch = 1
    assert rows(two) == epochs[1]
    # Known from the definition of PCG64 and SeedSequence: it must be the same on every machine, in every version.
    assert list(Batches(numbered(8), 4, rng=0).order(0)) == [3, 2, 1, 6, 0, 7, 4, 5]


def test_seeds_from_generators_and_from_nowhere():
    make = lambda rng: Batches(numbered(20), 6, rng=rng)
    assert rows(make(np.random.default_rng(1))) == rows(make(np.random.default_rng(1)))
    assert make(None).seed != make(None).seed
    generator = np.random.default_rng(1)
    assert make(generator).seed != make(generator).seed


def test_without_shuffling_rows_come_in_order():
    assert rows(Batches(numbered(5), 2, shuffle=False)) == [[0, 1], [2, 3], [4]]
    assert rows(Batches(numbered(5), 2, shuffle=False, drop_last=True)) == [[0, 1], [2, 3]]
    assert rows(Batches(numbered(0), 2)) == []


@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 40), st.booleans())
def test_resuming_is_bitwise_going_on(n, size, stop, shuffle):
    make = lambda seed: Batches(numbered(n), size, shuffle=shuffle, rng=seed)

    def stream(batches, epochs):
        while batches.epoch < epochs:
            for x, y in batches:
                yield x.tobytes() + y.tobytes()

    whole, stopped = list(stream(make(1), 4)), make(1)
    going = stream(stopped, 4)
    before = [next(going) for _ in range(min(stop, len(whole)))]
    state = stopped.state_dict()
    assert all(type(v) is int for v in state.values())
    resumed = make(2)
    resumed.load_state_dict({k: np.int64(v) for k, v in state.items()})
    assert resumed.state_dict() == state
    assert before + list(stream(resumed, 4)) == whole


def test_resuming_between_epochs():
    whole = Batches(numbered(7), 3, rng=1)
    rows(whole)
    state = whole.state_dict()
    assert (state["epoch"], state["position"]) == (1, 0)
    resumed = Batches(numbered(7), 3)
    resumed.load_state_dict(state)
    assert rows(resumed) == rows(whole) != []


def test_a_loop_that_is_left_starts_its_epoch_again():
    batches = Batches(numbered(9), 2, rng=0)
    first = next(iter(batches))[1]
    assert rows(batches)[0] == list(first)


BAD = {
    "names": (lambda s: s.pop("seed"), "the names are"),
    "extra": (lambda s: s.update(other=1), "the names are"),
    "float": (lambda s: s.update(epoch=1.0), "epoch=1.0"),
    "negative": (lambda s: s.update(epoch=-1), "epoch=-1"),
    "text": (lambda s: s.update(seed="1"), "seed='1'"),
    "position": (lambda s: s.update(position=4), "an epoch has 3 batches"),
    "examples": (lambda s: s.update(examples=6), "here it is 5"),
    "size": (lambda s: s.update(size=3), "here it is 2"),
    "shuffle": (lambda s: s.update(shuffle=0), "here it is 1"),
}


@pytest.mark.parametrize(("spoil", "match"), BAD.values(), ids=BAD)
def test_a_bad_state_changes_nothing(spoil, match):
    batches = Batches(numbered(5), 2, rng=0)
    before = batches.state_dict()
    state = dict(before, epoch=3, position=1)
    spoil(state)
    with pytest.raises(ArgumentError, match=match):
        batches.load_state_dict(state)
    assert batches.state_dict() == before
