"""Functions that block, called from tasks that are cancelled."""

import asyncio
import threading

import pytest

from loomgit.pipeline.blocking import finish_in_thread


def test_the_result_and_the_error_are_those_of_the_function():
    assert asyncio.run(finish_in_thread(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(finish_in_thread(divmod, 7, 0))


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_task_waits_for_the_end_of_the_function(fails):
    started, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def block():
        started.set()
        may_end.wait(10)
        ended.set()
        if fails:
            raise OSError

    async def cancel_twice():
        task = asyncio.create_task(finish_in_thread(block))
        await asyncio.to_thread(started.wait, 10)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(cancel_twice())
