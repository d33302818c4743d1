import asyncio

import pytest

from loomgit.domain.stage_progress import StageProgressed
from loomgit.pipeline.run_progress import RunProgress, emit_progress


def test_rows_and_records_are_counted():
    progress = RunProgress()
    rows = progress.count_rows(iter("abc"))
    assert next(rows) == "a"
    assert progress.event(0, 0.0) == StageProgressed("extract", 1, None, 0.0)
    assert list(rows) == ["b", "c"]

    progress.total = 2
    assert progress.event(0, 0.0) == StageProgressed("process", 0, 2, 0.0)
    progress.processed += 1
    assert progress.event(0, None) == StageProgressed("process", 1, 2, None)
    progress.processed += 1
    assert progress.event(1, 0.5) == StageProgressed("load", 1, 2, 0.5)


def test_progress_is_emitted_at_most_ten_times_a_second_and_not_after_the_end():
    emitted = []

    async def main():
        with emit_progress(lambda: StageProgressed("extract", 1, None, 0.0), emitted.append):
            await asyncio.sleep(0.55)
        count = len(emitted)
        await asyncio.sleep(0.25)
        return count

    assert asyncio.run(main()) == len(emitted)
    assert 1 <= len(emitted) <= 5


def test_an_error_of_the_receiver_is_raised():
    def emit(event):
        raise ValueError(event.stage)

    async def main():
        with emit_progress(lambda: StageProgressed("extract", 1, None, 0.0), emit):
            await asyncio.sleep(0.3)

    with pytest.raises(ValueError, match="extract"):
        asyncio.run(main())
