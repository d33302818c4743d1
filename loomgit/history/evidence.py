"""Stored results as the side of a comparison: found by what was asked, or by where it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from loomgit.domain.comparison import Measured, Side, by_id
from loomgit.domain.runs import Case
from loomgit.domain.samples import CaseSamples, cases_of
from loomgit.errors import WorldError
from loomgit.history.samples import from_object

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from loomgit.domain.runs import Run, RunSummary
    from loomgit.domain.samples import Sample
    from loomgit.domain.values import JsonObject
    from loomgit.history.store import RunStore

KINDS = ("test", "pipeline")
READ = 5  # run files of one fingerprint that are read to complete its cases
SEARCHED = 20  # of them, the newest first, for cases that are named


class Evidence:
    """The results of one pipeline in a store; `rows` are its runs there, where somebody has them.

    Run files that a change may have brought in do not count. The index is read once: what is
    written later is not seen.
    """

    def __init__(
        self, store: RunStore, pipeline: str, rows: Sequence[RunSummary] | None = None
    ) -> None:
        self._store = store
        found = store.search(pipeline=pipeline) if rows is None else rows
        self._rows = [row for row in found if row.path not in store.brought_in]

    def find(self, fingerprint: str, kind: str, *, whole: bool = True) -> Measured | None:
        """What runs of this kind with this fingerprint found, whatever commit they ran at.

        The run with the most cases counts, of equals the newest; cases that it lacks come from the
        others. `whole`: runs that were cut short do not count.
        """
        rows = [
            row
            for row in self._rows
            if row.fingerprint == fingerprint and row.kind == kind and (row.complete or not whole)
        ]
        rows.sort(key=lambda row: (row.complete, row.processed, row.started), reverse=True)
        return self._read(rows[:READ])

    def completed(self, found: Measured, wanted: Collection[str], kind: str) -> Measured:
        """The same with those of the `wanted` cases, by id, that it lacks and another run of the
        same content has, also one that was cut short; of several the newest."""
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
            one = self._read([row])
            if one is not None:
                cases = {name: case for name, case in one.cases.items() if name in missing}
                found = _together(found, replace(one, cases=cases))
        return found

    def find_at(
        self,
        commits: Sequence[str],
        kind: str,
        model: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Measured | None:
        """What the newest complete run at the first of `commits` found that has one.

        Runs of uncommitted work do not count, nor, where `variables` are given, those with others.
        `behind` says how far along the commits that was. Of several there, runs that asked `model`
        come first: a test may ask one of its own.
        """
        places = {commit: number for number, commit in enumerate(commits)}
        found: dict[int, list[RunSummary]] = {}
        for row in self._rows:
            if row.kind == kind and row.complete and not row.dirty and row.commit in places:
                found.setdefault(places[row.commit], []).append(row)
        for behind, rows in sorted(found.items()):
            rows.sort(key=lambda row: (row.processed, row.started), reverse=True)
            alike = [
                self._read(
                    [row for row in rows if row.fingerprint == fingerprint][:READ], variables
                )
                for fingerprint in dict.fromkeys(row.fingerprint for row in rows)
            ]
            there = [one for one in alike if one is not None]
            if there:
                best = next((one for one in there if one.side.model == model), there[0])
                return replace(best, side=replace(best.side, behind=behind))
        return None

    def _read(
        self, rows: Iterable[RunSummary], variables: Mapping[str, str] | None = None
    ) -> Measured | None:
        found: Measured | None = None
        for row in rows:
            try:
                run = self._store.load(self._store.folder / row.path)
            except WorldError:
                continue  # damaged or removed: the store says so
            if variables is not None and run.config.parameters.get("vars", {}) != dict(variables):
                continue
            one = measured(run, self._cases(run))
            if one.cases:  # else its records are on another machine
                found = one if found is None else _together(found, one)
        return found

    def _cases(self, run: Run) -> Iterable[Case]:
        """The cases of a run, from its records where the run file does not hold them."""
        if run.cases or run.records is None:
            return run.cases
        return load_cases(self._store, run)


def measured(run: Run, cases: Iterable[Case]) -> Measured:
    """A run as the side of a comparison."""
    side = Side(
        commit=run.commit.id,
        fingerprint=run.config.fingerprint,
        prompt_version=run.config.prompt_version,
        model=run.config.model,
        runs=(run.uid,),
    )
    judges = {name: tuple(models) for name, models in run.judges.items()}
    return Measured(side, by_id(cases), run.question, judges, tuple(run.served))


def _together(first: Measured, second: Measured) -> Measured:
    """The first with the cases that it lacks from the second; nothing of another question."""
    fresh = {name: case for name, case in second.cases.items() if name not in first.cases}
    if not fresh or orjson.dumps(first.question) != orjson.dumps(second.question):
        return first
    judges = {
        name: tuple(sorted({*first.judges.get(name, ()), *second.judges.get(name, ())}))
        for name in (*first.judges, *second.judges)
    }
    side = replace(first.side, runs=(*first.side.runs, *second.side.runs))
    served = tuple(sorted({*first.served, *second.served}))
    cases = {**first.cases, **fresh}
    return replace(first, side=side, cases=cases, judges=judges, served=served)


def load_cases(store: RunStore, run: Run) -> list[Case]:
    """The cases in a run's records file: none where that is not on this machine, or damaged."""
    assert run.records is not None
    try:
        content = (store.folder / run.records.path).read_bytes()
        lines = [orjson.loads(line) for line in content.splitlines()]
        if run.kind == "test":
            return _sampled(lines)
        return [case for line in lines if (case := _recorded(line)) is not None]
    except (OSError, LookupError, TypeError, ValueError):
        return []


def _recorded(line: Mapping[str, object]) -> Case | None:
    """The case of a pipeline's record; None of a line from before lines had their case's key."""
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


def _sampled(lines: Iterable[JsonObject]) -> list[Case]:
    """The cases of a test session's samples."""
    groups: dict[tuple[str, str, str], list[Sample]] = {}
    for line in lines:
        name = str(line["id"]), str(line["key"]), str(line["def"])
        groups.setdefault(name, []).append(from_object(line))
    return cases_of([CaseSamples(*name, {}, tuple(group)) for name, group in groups.items()])
