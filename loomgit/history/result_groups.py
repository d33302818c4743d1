"""The stored runs of one version, grouped by what they measured: no score is a mean over groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.log import LatestRun, MeanScore, Measured, ResultGroup, ScoredRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.domain.runs import RunSummary

Series = tuple[str, str]  # a pipeline and a kind of run


def group_results(
    marked: Iterable[tuple[RunSummary, tuple[str, ...]]],
    reported: Mapping[Series, ScoredRun] | None = None,
) -> Measured:
    """The results of a version, from its runs and what differs in each from the version's inputs.

    The scores of a group are those of its first complete run, so that later runs move none.
    `reported` are the runs that a report has shown as the version's own results, in order: they
    stay, also where the run file is gone. The version's own groups come first, in the order in
    which they were reported or measured, then the others, newest first.
    """
    shown = reported or {}
    found: dict[tuple[object, ...], list[tuple[RunSummary, tuple[str, ...]]]] = {
        (*series, "", ()): [] for series in shown
    }
    for row, differs in sorted(marked, key=lambda each: (each[0].started, each[0].uid)):
        same = row.fingerprint if differs else ""
        found.setdefault((row.pipeline, row.kind, same, differs), []).append((row, differs))
    groups = [
        _group((str(pipeline), str(kind)), members, shown)
        for (pipeline, kind, *_), members in found.items()
    ]
    own = [group for group in groups if group.own]
    places = {series: number for number, series in enumerate(shown)}
    own.sort(key=lambda group: (places.get(_series(group), len(places)), _began(group)))
    others = sorted(
        (group for group in groups if not group.own), key=lambda g: g.runs[-1].started, reverse=True
    )
    rows = [row for members in found.values() for row, _ in members]
    last = max(rows, key=lambda row: (row.started, row.uid), default=None)
    return Measured(
        runs=len(rows),
        complete=sum(row.complete for row in rows),
        cases=sum(row.processed for row in rows),
        scores=own[0].scores if own else {},
        cost_per_record=_cost(rows),
        latest=LatestRun(last.run_id, last.uid, last.started) if last else None,
        pipelines=tuple(sorted({group.pipeline for group in groups})),
        groups=(*own, *others),
    )


def _group(
    series: Series,
    members: Sequence[tuple[RunSummary, tuple[str, ...]]],
    reported: Mapping[Series, ScoredRun],
) -> ResultGroup:
    rows = [row for row, _ in members]
    differs = members[0][1] if members else ()
    runs = tuple(scored_run(row) for row in rows)
    figure = next((run for run in runs if run.complete and run.scores), None)
    if not differs:
        figure = reported.get(series, figure)
    cases = sum(row.processed for row in rows)
    return ResultGroup(*series, differs, figure, runs, cases, _cost(rows))


def scored_run(row: RunSummary) -> ScoredRun:
    """A run with those of its scores that are known."""
    scores = {
        name: MeanScore(mean, row.scored.get(name, 0))
        for name, mean in row.scores.items()
        if mean is not None
    }
    return ScoredRun(
        row.run_id, row.uid, row.started, row.commit, row.dirty, row.complete, scores
    )  # fmt: skip


def _cost(rows: Iterable[RunSummary]) -> float | None:
    """USD a record over the runs whose cost is known."""
    paid = [(row.cost, row.processed) for row in rows if row.cost is not None]
    records = sum(processed for _, processed in paid)
    return sum(cost for cost, _ in paid) / records if records else None


def _series(group: ResultGroup) -> Series:
    return group.pipeline, group.kind


def _began(group: ResultGroup) -> str:
    first = group.figure or (group.runs[0] if group.runs else None)
    return first.started if first is not None else ""
