import asyncio

import pytest

from loomgit.pipeline.ordered_pool import OrderedPool


async def collect(flow):
    return [result async for result in flow.results()]


def run(items, work, **options):
    options = {"concurrency": 4, "window": 8, **options}

    async def main():
        async with asyncio.timeout(5):
            return await collect(OrderedPool(iter(items), work, **options))

    return asyncio.run(main())


def test_results_come_in_the_order_of_the_items_whoever_is_first():
    async def work(item):
        await asyncio.sleep(0.01 if item % 3 == 0 else 0)
        return item * 10

    assert run(range(50), work) == [item * 10 for item in range(50)]


def test_work_that_never_waits_still_passes_on_its_results():
    async def work(item):
        return item

    assert run(range(1000), work, concurrency=3, window=5) == list(range(1000))


def test_workers_are_not_woken_for_each_item_if_work_never_waits(monkeypatch):
    waits = 0
    wait = OrderedPool._wait

    async def count(pool):
        nonlocal waits
        waits += 1
        await wait(pool)

    async def work(item):
        return item

    monkeypatch.setattr(OrderedPool, "_wait", count)
    assert run(range(1000), work, concurrency=10, window=100) == list(range(1000))
    assert waits <= 10 + 2 * 10  # each worker once, then two workers for each window


def test_all_workers_run_again_after_a_full_window():
    active, most = 0, []

    async def work(item):
        nonlocal active
        active += 1
        most.append(active)
        await asyncio.sleep(0.001)
        active -= 1
        return item

    async def main():
        pool = OrderedPool(iter(range(60)), work, concurrency=5, window=5)
        async for result in pool.results():
            if result % 5 == 4:
                await asyncio.sleep(0.02)  # all five items of the window end

    asyncio.run(main())
    assert max(most[10:]) == 5


def test_no_items_give_no_results():
    async def work(item):
        return item

    assert run([], work) == []


def test_no_more_than_the_concurrency_is_under_way():
    active = most = 0

    async def work(item):
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.001)
        active -= 1

    run(range(40), work, concurrency=5, window=40)
    assert most == 5


def test_a_slow_consumer_holds_back_the_workers():
    taken = 0

    def items():
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    async def work(item):
        return item

    async def main():
        flow = OrderedPool(items(), work, concurrency=2, window=6)
        results = flow.results()
        for _ in range(3):
            await anext(results)
        await asyncio.sleep(0.01)
        ahead = taken
        await results.aclose()
        return ahead

    assert asyncio.run(main()) <= 3 + 6 + 2


def test_an_error_ends_the_flow_and_the_work_that_is_under_way():
    ended = []

    async def work(item):
        try:
            await asyncio.sleep(0 if item == 3 else 60)
        except asyncio.CancelledError:
            ended.append(item)
            raise
        raise RuntimeError(item)

    with pytest.raises(RuntimeError, match="3"):
        run(range(10), work)
    assert ended == [0, 1, 2]


def test_an_error_of_the_iterator_ends_the_flow():
    def items():
        yield 1
        raise ValueError("broken source")

    async def work(item):
        return item

    with pytest.raises(ValueError, match="broken source"):
        run(items(), work)


@pytest.mark.parametrize("window", [1, 2, 50])
def test_stop_lets_what_is_under_way_end_and_takes_nothing_new(window):
    started = []

    async def main():
        async def work(item):
            started.append(item)
            await asyncio.sleep(0.001)
            return item

        flow = OrderedPool(iter(range(1000)), work, concurrency=4, window=window)
        results = []
        async with asyncio.timeout(5):
            async for result in flow.results():
                results.append(result)
                if result == 10:
                    flow.stop()
        return results

    results = asyncio.run(main())
    assert results == started  # all that was begun came out, in order
    assert 11 <= len(results) <= 11 + max(window, 4) + 4


def test_finish_waits_for_the_items_in_progress_and_keeps_their_results():
    async def work(item):
        await asyncio.sleep(0.02 if item else 0)
        return item

    async def main():
        async with asyncio.timeout(5):
            pool = OrderedPool(iter(range(100)), work, concurrency=4, window=8)
            results = pool.results()
            assert await anext(results) == 0
            await pool.finish()
            await results.aclose()
            return pool.leftovers()

    leftovers = asyncio.run(main())
    assert 3 <= len(leftovers) <= 4
    assert leftovers == list(range(1, 1 + len(leftovers)))
