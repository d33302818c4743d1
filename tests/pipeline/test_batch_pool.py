import asyncio
from functools import partial

import pytest

from loomgit.errors import WorldError
from loomgit.pipeline import batch_pool
from loomgit.pipeline.batch_pool import BatchPool


def run(main):
    async def bounded():
        async with asyncio.timeout(5):
            return await main()

    return asyncio.run(bounded())


def open_pool(items, work, size=3, concurrency=2):
    return BatchPool(iter(items), work, size=size, concurrency=concurrency)


def test_results_have_the_order_of_the_items():
    sizes = []

    async def work(items):
        sizes.append(len(items))
        await asyncio.sleep(0.01 if items[0] == 0 else 0)
        return [item * 10 for item in items]

    async def main():
        return [result async for result in open_pool(range(8), work).results()]

    assert run(main) == [item * 10 for item in range(8)]
    assert sizes == [3, 3, 2]


def test_no_items_give_no_results():
    async def work(items):
        raise AssertionError(items)

    async def main():
        return [result async for result in open_pool([], work).results()]

    assert run(main) == []


def test_at_most_the_given_number_of_batches_is_in_progress():
    active = most = 0

    async def work(items):
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.001)
        active -= 1
        return items

    async def main():
        return [result async for result in open_pool(range(40), work, concurrency=3).results()]

    assert run(main) == list(range(40))
    assert most == 3


def test_the_next_batch_is_processed_while_the_caller_handles_results():
    begun = []

    async def work(items):
        begun.append(items[0])
        await asyncio.sleep(0)
        return items

    async def main():
        results = open_pool(range(6), work, concurrency=1).results()
        await anext(results)
        await asyncio.sleep(0.01)
        await results.aclose()

    run(main)
    assert begun == [0, 3]


def test_after_a_stop_no_items_are_taken_but_the_results_in_progress_are_yielded():
    async def work(items):
        await asyncio.sleep(0)
        return items

    async def main():
        pool = open_pool(range(100), work, size=2, concurrency=2)
        results = []
        async for result in pool.results():
            results.append(result)
            pool.stop()
        return results

    assert run(main) == [0, 1, 2, 3, 4, 5]


def test_an_outage_keeps_the_results_of_the_other_batches():
    async def work(items):
        await asyncio.sleep(0.01 if items[0] else 0)
        if items[0] == 3:
            raise WorldError("no worker")
        return items

    async def main():
        pool = open_pool(range(20), work, concurrency=3)
        results = []
        with pytest.raises(WorldError, match="no worker"):
            async for result in pool.results():
                results.append(result)
        return results, pool.leftovers()

    assert run(main) == ([0, 1, 2], [6, 7, 8, 9, 10, 11])


def test_results_that_the_caller_did_not_take_are_left_over():
    async def work(items):
        return items

    async def main():
        pool = open_pool(range(6), work, concurrency=2)
        results = pool.results()
        first = await anext(results)
        await pool.finish()
        await results.aclose()
        return first, pool.leftovers()

    assert run(main) == (0, [1, 2, 3, 4, 5])


def test_a_bug_ends_the_iteration_and_cancels_the_other_batches():
    cancelled = []

    async def work(items):
        if items[0] == 0:
            raise ZeroDivisionError
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(items[0])
            raise

    async def main():
        with pytest.raises(ZeroDivisionError):
            async for _ in open_pool(range(6), work).results():
                pass

    run(main)
    assert cancelled in ([], [3])  # the second batch may not have begun


def test_batches_of_slow_items_are_small(monkeypatch):
    monkeypatch.setattr(batch_pool, "_BATCH_SECONDS", 0.02)
    sizes = []

    async def work(items):
        sizes.append(len(items))
        await asyncio.sleep(0.02 * len(items) if items[0] < 20 else 0)
        return items

    async def main():
        pool = open_pool(range(2000), work, size=1000, concurrency=1)
        return [result async for result in pool.results()]

    assert run(main) == list(range(2000))
    assert sizes[0] == 8
    assert sizes[1] <= 2
    assert sizes[-2] > 100


def test_a_stop_cancels_batches_that_do_not_end_soon(monkeypatch):
    monkeypatch.setattr(batch_pool, "_STOP_SECONDS", 0.05)

    async def work(items):
        await asyncio.sleep(60 if items[0] >= 3 else 0)
        return items

    async def main(*, finish):
        pool = open_pool(range(100), work)
        results = []
        async for result in pool.results():
            results.append(result)
            if len(results) == 3:
                await pool.finish() if finish else pool.stop()
        return results, pool.leftovers()

    assert run(partial(main, finish=False)) == ([0, 1, 2], [])
    assert run(partial(main, finish=True)) == ([0, 1, 2], [])
