"""The panel of evaluators."""

import asyncio

import pytest

from loomgit.domain.definitions import EvaluatorSpec, Gate
from loomgit.domain.records import Output, Record
from loomgit.pipeline.evaluate import Panel
from tests.fakes import FakeEvaluator

RECORD, OUTPUT = Record(0, "r-1", {"text": "x"}), Output({"label": "a"}, "a", "fake")


class CurrentTask(FakeEvaluator):
    def __init__(self, waits):
        super().__init__(lambda _: 1.0)
        self._waits = waits
        self.task = None

    @property
    def waits(self):
        return self._waits

    async def score(self, subject):
        self.task = asyncio.current_task()
        return await super().score(subject)


@pytest.mark.parametrize(
    ("waits", "tasks"),
    [([False, False, False], 0), ([False, True, False], 0), ([True, True, False], 3)],
)
def test_evaluators_run_in_tasks_only_if_several_of_them_wait(waits, tasks):
    evaluators = [CurrentTask(each) for each in waits]
    specs = [EvaluatorSpec(f"e{n}", "exact_match", threshold=0.5) for n in range(len(waits))]
    panel = Panel(list(zip(specs, evaluators, strict=True)), Gate("all_pass"))

    async def judge():
        assessments, failure = await panel.judge(RECORD, OUTPUT)
        return assessments, failure, asyncio.current_task()

    assessments, failure, own = asyncio.run(judge())
    assert [assessment.name for assessment in assessments] == ["e0", "e1", "e2"]
    assert failure is None
    assert sum(each.task is not own for each in evaluators) == tasks
