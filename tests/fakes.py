"""The ports, fulfilled in memory: for tests of the rooms that work through them."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence

from loomgit.domain.models import Completion, Request, Usage
from loomgit.domain.ports import Evaluator, Gateway, LoadReceipt, Sink, Source
from loomgit.domain.programs import ProgramFiles, ProgramHost, ProgramResult
from loomgit.domain.records import EvaluationInput, RefusedRow, Score
from loomgit.domain.runs import RecordsFile
from loomgit.domain.values import JsonObject


class FakeGateway(Gateway):
    """Answers by a function of the request (text, Completion or an error to raise)."""

    def __init__(self, answer: Callable[[Request], str | Completion | Exception]) -> None:
        self._answer = answer
        self.requests: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        answer = self._answer(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Completion):
            return answer
        return Completion(answer, "fake", Usage(10, 2), cost=0.5, latency=0.25)

    async def close(self) -> None:
        pass


class FakeEvaluator(Evaluator):
    """Scores by a function of the subject (a number, a Score or an error to raise)."""

    waits = True

    def __init__(self, judge: Callable[[EvaluationInput], float | Score | Exception]) -> None:
        self._judge = judge

    async def score(self, subject: EvaluationInput) -> Score:
        answer = self._judge(subject)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Score) else Score(answer, "fake")


class FakeSource(Source):
    def __init__(self, rows: Sequence[JsonObject]) -> None:
        self._rows = rows

    def check(self) -> None:
        pass

    def rows(self) -> Iterator[JsonObject]:
        yield from self._rows


class FakeSpool:
    def __init__(self, rows: Iterator[JsonObject]) -> None:
        self._rows = list(rows)
        self.count = len(self._rows)
        self.refused = sum(isinstance(row, RefusedRow) for row in self._rows)
        self.sha256 = "0" * 64
        kept = [row for row in self._rows if not isinstance(row, RefusedRow)]
        self.fields = tuple(dict.fromkeys(name for row in kept for name in row))
        self.filled = frozenset(self.fields)

    def rows(self) -> Iterator[JsonObject]:
        yield from self._rows

    def items(self) -> Iterator[JsonObject]:
        yield from self._rows


class FakeSink(Sink):
    """Keeps the rows of each part; `fail` names the part whose load raises the given error, and
    `refuse` gives the reason to refuse a row, `refuse_at_load` the reason that only `load` finds.
    """

    def __init__(
        self,
        fail: dict[int, Exception] | None = None,
        refuse: Callable[[JsonObject], str] = lambda _: "",
        refuse_at_load: Callable[[JsonObject], str] = lambda _: "",
    ) -> None:
        self.refuse = refuse
        self.refuse_at_load = refuse_at_load
        self.rejected: list[JsonObject] = []
        self.parts: dict[int, list[JsonObject]] = {}
        self.ended = ""
        self._fail = fail or {}

    @property
    def rows(self) -> list[JsonObject]:
        return [row for _, rows in sorted(self.parts.items()) for row in rows]

    def check(self) -> None:
        pass

    def refusal(self, row: JsonObject) -> str:
        return self.refuse(row)

    def loaded_parts(self) -> frozenset[int]:
        return frozenset(self.parts)

    def load(
        self, part: int, rows: Sequence[JsonObject], rejected: Sequence[JsonObject] = ()
    ) -> dict[int, str]:
        if part in self._fail:
            raise self._fail[part]
        self.rejected += rejected
        reasons = {index: self.refuse_at_load(row) for index, row in enumerate(rows)}
        refused = {index: reason for index, reason in reasons.items() if reason}
        self.parts[part] = [row for index, row in enumerate(rows) if index not in refused]
        return refused

    def commit(self) -> LoadReceipt:
        self.ended = "committed"
        return LoadReceipt(inserted=len(self.rows))

    def abort(self) -> None:
        self.ended = self.ended or "aborted"


class FakeJournal:
    """A journal in memory. `earlier` maps the index of a record to its outcome, and `parts` a part
    to the indexes of its records."""

    def __init__(self, earlier=None, parts=None, reported=()):
        self._earlier = earlier or {}
        self._added = {}
        self._parts = parts or {}
        self._reported = reported
        self.events = []
        self.synced = []  # the events that were on the disk at the last call of `sync`

    @property
    def part_sizes(self):
        return {part: len(indexes) for part, indexes in self._parts.items()}

    @property
    def part_extents(self):
        return {part: (min(each), max(each)) for part, each in self._parts.items() if each}

    def part_of(self, index):
        return next((part for part, indexes in self._parts.items() if index in indexes), None)

    def is_reported(self, part):
        return part in self._reported

    def find(self, record):
        return self._earlier.get(record.index)

    def reread(self, indexes):
        self._earlier |= {index: self._added[index] for index in indexes if index in self._added}

    def add(self, outcome):
        self._added[outcome.record.index] = outcome
        self.events.append(("outcome", outcome.record.index))

    def begin_part(self, part, indexes):
        self.events.append(("begin", part, list(indexes)))

    def sync(self):
        self.synced = list(self.events)

    def report_part(self, part):
        self.events.append(("report", part))


class FakeLog:
    def __init__(self) -> None:
        self.lines: list[JsonObject] = []

    def write(self, rows) -> None:
        self.lines.extend(rows)

    def finish(self, *, loaded: bool = True, corrected=None) -> RecordsFile:
        self.lines = [(corrected or {}).get(line["index"], line) for line in self.lines]
        return RecordsFile("records/fake.jsonl", "0" * 64, len(self.lines))


class FakeIncrement:
    """The indexes of the records of each part that an incremental run has begun."""

    def __init__(self) -> None:
        self.parts = {}

    def begin_part(self, part, records) -> None:
        self.parts[part] = [record.index for record in records]

    def add(self, outcomes) -> None:
        pass

    def add_lost(self, records) -> None:
        pass

    def find_note(self, spool) -> str:
        return ""

    def finish(self, spool, receipt, *, complete) -> str:
        return ""


class FakeQuarantine:
    def __init__(self) -> None:
        self.outcomes = []

    def add(self, outcomes) -> None:
        self.outcomes.extend(outcomes)


class FakeProgramHost(ProgramHost):
    """Runs a program in this process, without isolation and without limits.

    A path of a mount in the text of the program is replaced by its path on this machine.
    """

    def __init__(self, files: ProgramFiles) -> None:
        source = (files.artifact / "program.py").read_text(encoding="utf-8")
        for path, place in files.mounts.items():
            inner = path.removeprefix("/loopai-data/shared/")
            root = str(place)[: -len(inner) - 1]
            source = source.replace("/loopai-data/shared", root)
        self.closed = False
        self._names = {"__file__": str(files.artifact / "program.py"), "__name__": "program"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # programs may leave files open
            exec(compile(source, "program.py", "exec"), self._names)

    async def execute(self, inputs):
        return [self._execute(value) for value in inputs]

    def _execute(self, value):
        started = time.perf_counter()
        try:
            output = self._names["execute"](value)
        except Exception as error:  # noqa: BLE001 - a program may raise anything
            return ProgramResult(None, "error", f"{type(error).__name__}: {error}", 0.001)
        return ProgramResult(output, latency=time.perf_counter() - started)

    async def close(self):
        self.closed = True
