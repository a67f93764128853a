"""Recording modes and scopes across threads, tasks, generators and coroutines; gradients from many threads."""

import asyncio
import contextlib
import contextvars
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.scope import mode, scope_var


def state():
    """What an operation would see now: is it recorded, and in which scope."""
    y = tg.tensor(1.0, requires_grad=True) * 2
    return y.requires_grad, y.node.scope.path if y.node and y.node.scope else None


FREE = (True, None)
QUIET = (False, None)
DECORATORS = [
    pytest.param(tg.no_grad, (False, None), id="no_grad"),
    pytest.param(lambda: tg.scope("s"), (True, "s"), id="scope"),
]


@pytest.fixture(autouse=True)
def _impatient():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# -- threads --------------------------------------------------------------------------------------


def test_a_thread_starts_free():
    with tg.no_grad(), tg.scope("outer"), ThreadPoolExecutor(1) as pool:
        seen = pool.submit(contextvars.Context().run, state).result()
    assert seen == FREE


def test_a_thread_takes_a_context_that_is_handed_to_it():
    with tg.no_grad(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(contextvars.copy_context().run, state).result() == QUIET


def test_threads_do_not_see_each_other():
    barrier = threading.Barrier(4)

    def work(number):
        barrier.wait()
        for _ in range(100):
            with tg.scope(f"thread {number}"):
                if number % 2:
                    with tg.no_grad():
                        assert state() == QUIET
                assert state() == (True, f"thread {number}")
            assert state() == FREE
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


@pytest.mark.parametrize(("make", "inside"), DECORATORS)
def test_one_setting_serves_many_threads(make, inside):
    """The object that ``no_grad()`` returns keeps nothing: threads that share it do not mix their modes."""
    shared, barrier = make(), threading.Barrier(2)

    def enter(outer):
        with outer:
            before = state()
            barrier.wait()
            with shared:
                barrier.wait()
            barrier.wait()
            assert state() == before
        return state()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(enter, [tg.no_grad(), contextlib.nullcontext()])) == [FREE, FREE]


@pytest.mark.parametrize(("make", "inside"), DECORATORS)
def test_one_setting_is_entered_twice(make, inside):
    setting = make()
    with setting:
        with setting:
            assert state()[0] == inside[0]
        assert state() == inside
    assert state() == FREE


def test_settings_that_are_left_in_another_order_restore_what_they_found():
    first, second = tg.no_grad(), tg.scope("s")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert state() == (True, "s")
    second.__exit__(None, None, None)
    assert state() == FREE


def test_a_setting_that_is_left_in_another_thread_changes_nothing_there():
    setting = tg.no_grad()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(setting.__enter__).result()
        setting.__exit__(None, None, None)
    assert state() == FREE


def test_backwards_from_many_threads_add_up_exactly():
    threads, calls = 8, 200
    x, start = tg.tensor(np.arange(4.0), requires_grad=True), threading.Barrier(threads)

    def work(k):
        start.wait()
        for _ in range(calls):
            tg.sum(x * float(k)).backward()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    assert x.grad.tolist() == [calls * sum(range(threads))] * 4


def test_one_graph_serves_many_threads():
    x = tg.tensor(np.linspace(0.1, 1, 8), requires_grad=True)
    y = tg.sum(tg.exp(tg.sin(x)) * x)
    expected = tg.gradients(y, x).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert all(g.tolist() == expected for g in pool.map(lambda _: tg.gradients(y, x), range(64)))


# -- asyncio --------------------------------------------------------------------------------------


def test_tasks_do_not_see_each_other():
    async def quiet():
        with tg.no_grad(), tg.scope("quiet"):
            for _ in range(5):
                assert not state()[0]
                await asyncio.sleep(0)
        return state()

    async def free():
        for _ in range(5):
            assert state() == FREE
            await asyncio.sleep(0)
        return state()

    async def main():
        return await asyncio.gather(quiet(), free(), quiet(), free())

    assert asyncio.run(main()) == [FREE] * 4


@pytest.mark.parametrize(("make", "inside"), DECORATORS)
def test_a_decorated_coroutine(make, inside):
    @make()
    async def inner(n):
        for _ in range(n):
            assert state() == inside
            await asyncio.sleep(0)
        return state()

    async def main():
        return await inner(3), state(), await asyncio.gather(inner(2), inner(2))

    assert asyncio.run(main()) == (inside, FREE, [inside, inside])


def test_a_decorated_coroutine_driven_by_hand_leaks_nothing_between_steps():
    class Pause:
        def __await__(self):
            return (yield "paused")

    @tg.no_grad()
    async def inner():
        answer = await Pause()
        return answer, state()

    coroutine = inner()
    assert coroutine.send(None) == "paused"
    assert state() == FREE
    with pytest.raises(StopIteration) as stop:
        coroutine.send("go on")
    assert stop.value.value == ("go on", QUIET)
    assert state() == FREE


def test_a_cancelled_coroutine_cleans_up_inside_and_leaks_nothing():
    seen = []

    @tg.no_grad()
    async def inner():
        try:
            await asyncio.sleep(10)
        finally:
            seen.append(state())

    async def main():
        task = asyncio.create_task(inner())
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return state()

    assert asyncio.run(main()) == FREE
    assert seen == [QUIET]


# -- generators -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "inside"), DECORATORS)
def test_a_decorated_generator(make, inside):
    @make()
    def steps(n):
        for _ in range(n):
            sent = yield state()
            assert sent is None or sent == "hello"
        return "done"

    generator = steps(3)
    assert state() == FREE
    assert next(generator) == inside
    assert state() == FREE
    assert generator.send("hello") == inside
    assert list(generator) == [inside]

    def delegates():
        return (yield from steps(1))

    inner = delegates()
    next(inner)
    with pytest.raises(StopIteration) as stop:
        next(inner)
    assert stop.value.value == "done"
    assert state() == FREE


def test_generators_interleave():
    @tg.no_grad()
    def quiet():
        for _ in range(3):
            yield state()

    @tg.scope("s")
    def named():
        for _ in range(3):
            yield state()

    assert list(zip(quiet(), named(), strict=True)) == [(QUIET, (True, "s"))] * 3


@pytest.mark.parametrize("make", [p.values[0] for p in DECORATORS], ids=["no_grad", "scope"])
def test_an_exception_thrown_into_a_decorated_generator(make):
    @make()
    def steps():
        inside = state()
        try:
            yield "before"
        except KeyError:
            yield state() == inside
        finally:
            assert state() == inside

    generator = steps()
    next(generator)
    assert generator.throw(KeyError("x")) is True
    assert state() == FREE
    generator.close()
    assert state() == FREE
    generator = steps()
    next(generator)
    with pytest.raises(ZeroDivisionError):
        generator.throw(ZeroDivisionError())
    assert state() == FREE


def test_an_exception_raised_inside():
    @tg.no_grad()
    def function():
        raise KeyError

    @tg.no_grad()
    def generator():
        yield
        raise KeyError

    @tg.no_grad()
    async def coroutine():
        raise KeyError

    @tg.no_grad()
    async def async_generator():
        yield
        raise KeyError

    async def drain():
        async for _ in async_generator():
            pass

    for run in (function, lambda: list(generator()), lambda: asyncio.run(coroutine()), lambda: asyncio.run(drain())):
        with pytest.raises(KeyError):
            run()
        assert state() == FREE


@pytest.mark.parametrize(("make", "inside"), DECORATORS)
def test_a_decorated_async_generator(make, inside):
    ended = []

    @make()
    async def steps(n):
        try:
            for _ in range(n):
                assert state() == inside
                await asyncio.sleep(0)
                sent = yield state()
                ended.append(sent)
        finally:
            ended.append(state())

    async def main():
        async for seen in steps(2):
            assert seen == inside
            assert state() == FREE
        generator = steps(2)
        await generator.asend(None)
        assert await generator.asend("hello") == inside
        await generator.aclose()
        return state()

    assert asyncio.run(main()) == FREE
    assert ended == [None, None, inside, "hello", inside]


def test_an_exception_thrown_into_a_decorated_async_generator():
    @tg.no_grad()
    async def steps():
        try:
            yield "before"
        except KeyError:
            yield state()

    async def main():
        generator = steps()
        await generator.asend(None)
        caught = await generator.athrow(KeyError("x"))
        await generator.aclose()
        stubborn = steps()
        await stubborn.asend(None)
        with pytest.raises(ZeroDivisionError):
            await stubborn.athrow(ZeroDivisionError())
        return caught, state()

    assert asyncio.run(main()) == (QUIET, FREE)


def test_a_plain_with_around_a_yield_lasts_until_the_generator_resumes():
    """As with every context manager; the docstring of ``no_grad`` says so, and the end restores the mode."""

    def steps():
        with tg.no_grad():
            yield

    generator = steps()
    next(generator)
    assert state() == QUIET
    list(generator)
    assert state() == FREE


def test_a_decorated_function_keeps_its_name_and_recurses():
    @tg.no_grad()
    def countdown(n):
        """Counts."""
        return [state(), *(countdown(n - 1) if n else [])]

    assert countdown(3) == [QUIET] * 4
    assert (countdown.__name__, countdown.__doc__) == ("countdown", "Counts.")
    assert (mode.get(), scope_var.get()) == (1, None)
