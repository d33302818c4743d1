"""Finds stored results for one side of a comparison, by fingerprint or by commit.

The fingerprint of a run is the hash of everything that can change its results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from loomgit.domain.comparison import MeasuredSide, Side, cases_by_id
from loomgit.domain.runs import Case
from loomgit.domain.samples import CaseSamples, stored_cases
from loomgit.errors import WorldError
from loomgit.history.samples import from_object

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from loomgit.domain.runs import Run, RunSummary
    from loomgit.domain.samples import Sample
    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.history.store import RunStore

KINDS = ("test", "pipeline")
READ = 5  # maximum number of run files from which the cases of one fingerprint are read
SEARCHED = 20  # maximum number of additional run files to read if cases are missing


class StoredResults:
    """The stored results of one pipeline.

    `rows` are the summaries of the pipeline's runs. If `rows` is None, the summaries are read from
    the index once, and runs that are written later are not found. Run files that the current change
    may have added are ignored.
    """

    def __init__(
        self, store: RunStore, pipeline: str, rows: Sequence[RunSummary] | None = None
    ) -> None:
        self._store = store
        runs = store.search(pipeline=pipeline) if rows is None else rows
        self._rows = [row for row in runs if row.path not in store.added_by_change]

    def find(self, fingerprint: str, kind: str, *, whole: bool = True) -> MeasuredSide | None:
        """Return the results of the runs with this fingerprint. The runs can be from any commit.

        `kind` is `test` or `pipeline`. Complete runs are preferred, then runs with more cases, then
        newer runs. Cases that the best run lacks come from the next runs. If `whole` is true,
        incomplete runs are ignored. Return None if no run has results.
        """
        rows = [
            row
            for row in self._rows
            if row.fingerprint == fingerprint and row.kind == kind and (row.complete or not whole)
        ]
        rows.sort(key=lambda row: (row.complete, row.processed, row.started), reverse=True)
        return self._read(rows[:READ])

    def completed(self, found: MeasuredSide, wanted: Collection[str], kind: str) -> MeasuredSide:
        """Return `found` with additional cases from other runs with the same fingerprint.

        `wanted` contains the ids of all cases that the result should have. Each missing case is
        taken from the newest run that has it, even if this run is incomplete.
        """
        rows = [
            row
            for row in self._rows
            if row.fingerprint == found.side.fingerprint
            and row.kind == kind
            and row.uid not in found.side.runs
        ]
        rows.sort(key=lambda row: row.started, reverse=True)
        for row in rows[:SEARCHED]:
            missing = {name for name in wanted if name not in found.cases}
            if not missing:
                break
            other = self._read([row])
            if other is not None:
                cases = {name: case for name, case in other.cases.items() if name in missing}
                found = _merge(found, replace(other, cases=cases))
        return found

    def find_at(
        self,
        commits: Sequence[str],
        kind: str,
        model: str | None = None,
        variables: JsonMapping | None = None,
    ) -> MeasuredSide | None:
        """Return the results at the first commit in `commits` that has a complete run.

        If the commit has several runs, the runs with the model `model` are preferred, because a
        test may use its own model. Then runs with more cases are preferred, then newer runs. Runs
        with uncommitted changes are ignored. If `variables` is given, runs with other variables are
        also ignored. In the result, `side.behind` is the index of the selected commit in `commits`.
        Return None if no commit has results.
        """
        positions = {commit: number for number, commit in enumerate(commits)}
        rows_at: dict[int, list[RunSummary]] = {}
        for row in self._rows:
            if row.kind == kind and row.complete and not row.dirty and row.commit in positions:
                rows_at.setdefault(positions[row.commit], []).append(row)
        for behind, rows in sorted(rows_at.items()):
            rows.sort(key=lambda row: (row.processed, row.started), reverse=True)
            by_fingerprint = [
                self._read(
                    [row for row in rows if row.fingerprint == fingerprint][:READ], variables
                )
                for fingerprint in dict.fromkeys(row.fingerprint for row in rows)
            ]
            sides = [side for side in by_fingerprint if side is not None]
            if sides:
                best = next((side for side in sides if side.side.model == model), sides[0])
                return replace(best, side=replace(best.side, behind=behind))
        return None

    def _read(
        self, rows: Iterable[RunSummary], variables: JsonMapping | None = None
    ) -> MeasuredSide | None:
        merged: MeasuredSide | None = None
        for row in rows:
            try:
                run = self._store.load(self._store.folder / row.path)
            except WorldError:
                continue  # the file was removed, or is damaged (then the store warns)
            if variables is not None and run.config.parameters.get("vars", {}) != dict(variables):
                continue
            side = to_side(run, self._cases(run))
            if side.cases:  # there are no cases if the records file is on another machine
                merged = side if merged is None else _merge(merged, side)
        return merged

    def _cases(self, run: Run) -> Iterable[Case]:
        """Return the cases of a run, from its records file if the run file contains no cases."""
        if run.cases or run.records is None:
            return run.cases
        return load_cases(self._store, run)


def to_side(run: Run, cases: Iterable[Case]) -> MeasuredSide:
    """Return a run as one side of a comparison. `cases` are the results of the run."""
    side = Side(
        commit=run.commit.id,
        fingerprint=run.config.fingerprint,
        prompt_version=run.config.prompt_version,
        model=run.config.model,
        runs=(run.uid,),
        program=run.config.program,
    )
    judges = {name: tuple(models) for name, models in run.judges.items()}
    return MeasuredSide(side, cases_by_id(cases), run.question, judges, tuple(run.served))


def _merge(first: MeasuredSide, second: MeasuredSide) -> MeasuredSide:
    """Return `first`, extended by the cases that only `second` has.

    If the sides were judged by different evaluators or judge models, return `first` unchanged.
    """
    added = {name: case for name, case in second.cases.items() if name not in first.cases}
    if not added or orjson.dumps(first.question) != orjson.dumps(second.question):
        return first
    judges = {
        name: tuple(sorted({*first.judges.get(name, ()), *second.judges.get(name, ())}))
        for name in (*first.judges, *second.judges)
    }
    side = replace(first.side, runs=(*first.side.runs, *second.side.runs))
    served = tuple(sorted({*first.served, *second.served}))
    cases = {**first.cases, **added}
    return replace(first, side=side, cases=cases, judges=judges, served=served)


def load_cases(store: RunStore, run: Run) -> list[Case]:
    """Return the cases in a run's records file.

    The list is empty if the file is missing or damaged.
    """
    assert run.records is not None
    try:
        content = (store.folder / run.records.path).read_bytes()
        lines = [orjson.loads(line) for line in content.splitlines()]
        if run.kind == "test":
            return _cases_of_samples(lines)
        return [case for line in lines if (case := _case_of_record(line)) is not None]
    except (OSError, LookupError, TypeError, ValueError):
        return []


def _case_of_record(line: Mapping[str, object]) -> Case | None:
    """Convert a line of a pipeline run's records file to a case.

    Return None if the line has an older format, which does not contain the key of the case.
    """
    if "case_key" not in line:
        return None
    scores = line["case_scores"]
    assert isinstance(scores, dict)
    cached = bool(line.get("cached"))
    cost, latency = line.get("cost"), line.get("latency")
    return Case(
        id=str(line["key"]),
        key=str(line["case_key"]),
        definition=str(line["def"]),
        scores={name: [value] for name, value in scores.items()},
        samples=1,
        passed=int("failure" not in line),
        cost=cost if isinstance(cost, int | float) and not cached else None,
        latency=latency if isinstance(latency, int | float) else None,
    )


def _cases_of_samples(lines: Iterable[JsonObject]) -> list[Case]:
    """Return the cases in the records file of a test run. Each line contains one sample."""
    groups: dict[tuple[str, str, str], list[Sample]] = {}
    for line in lines:
        case = str(line["id"]), str(line["key"]), str(line["def"])
        groups.setdefault(case, []).append(from_object(line))
    return stored_cases([CaseSamples(*case, {}, tuple(group)) for case, group in groups.items()])
