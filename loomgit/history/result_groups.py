"""Groups the stored runs of a version: runs in the same group measured the same inputs.

Scores of different groups are never averaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.log import LatestRun, MeanScore, ResultGroup, ScoredRun, StoredScores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.domain.runs import RunSummary

Series = tuple[str, str]  # (pipeline, type of run: `pipeline` or `test`)


def group_results(
    marked: Iterable[tuple[RunSummary, tuple[str, ...]]],
    reported: Mapping[Series, ScoredRun] | None = None,
) -> StoredScores:
    """Return the results of a version, in groups of runs with the same inputs.

    `marked` contains pairs (run, differences between the inputs of the run and of the version). A
    run without differences belongs to one of the version's own groups. `reported` contains the runs
    of these groups that compliance reports have already shown, in the order of the reports.

    The scores of a group are those of its reported run, even if the run file no longer exists. If
    no run was reported, the scores are those of the first complete run that has scores. Therefore,
    later runs do not change the scores of a group. The version's own groups come first, in the
    order in which they were reported or measured. The other groups follow, newest first.
    """
    shown = reported or {}
    members_of: dict[tuple[object, ...], list[tuple[RunSummary, tuple[str, ...]]]] = {
        (*series, "", ()): [] for series in shown
    }
    for row, differs in sorted(marked, key=lambda pair: (pair[0].started, pair[0].uid)):
        fingerprint = row.fingerprint if differs else ""
        key = (row.pipeline, row.kind, fingerprint, differs)
        members_of.setdefault(key, []).append((row, differs))
    groups = [
        _group((str(pipeline), str(kind)), members, shown)
        for (pipeline, kind, *_), members in members_of.items()
    ]
    own = [group for group in groups if group.own]
    ranks = {series: number for number, series in enumerate(shown)}
    own.sort(key=lambda group: (ranks.get(_series(group), len(ranks)), _started(group)))
    others = sorted(
        (group for group in groups if not group.own), key=lambda g: g.runs[-1].started, reverse=True
    )
    rows = [row for members in members_of.values() for row, _ in members]
    last = max(rows, key=lambda row: (row.started, row.uid), default=None)
    return StoredScores(
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
    """Return the run with its scores. Evaluators without a mean score are left out."""
    scores = {
        name: MeanScore(mean, row.scored.get(name, 0))
        for name, mean in row.scores.items()
        if mean is not None
    }
    return ScoredRun(
        row.run_id, row.uid, row.started, row.commit, row.dirty, row.complete, scores
    )  # fmt: skip


def _cost(rows: Iterable[RunSummary]) -> float | None:
    """Return the mean cost of a record in USD. Return None if no run has a known cost.

    Runs with an unknown cost are ignored.
    """
    paid = [(row.cost, row.processed) for row in rows if row.cost is not None]
    records = sum(processed for _, processed in paid)
    return sum(cost for cost, _ in paid) / records if records else None


def _series(group: ResultGroup) -> Series:
    return group.pipeline, group.kind


def _started(group: ResultGroup) -> str:
    first = group.figure or (group.runs[0] if group.runs else None)
    return first.started if first is not None else ""
