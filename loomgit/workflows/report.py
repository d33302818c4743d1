"""Builds reports about a project from its stored runs, its Git history and a comparison."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from loomgit.domain.utc import in_utc
from loomgit.domain.values import as_text
from loomgit.errors import LoomError, WorldError
from loomgit.history.change_log import read_changes
from loomgit.history.log import read_log
from loomgit.history.stored_results import load_cases, to_side
from loomgit.report.evidence import ComparisonEvidence, Example, Reason, Reply, score_distributions
from loomgit.report.overview import Overview, PipelineHistory, ambiguous_commits
from loomgit.wiring.version_scores import VersionScores
from loomgit.workflows.comparing.compare import CompareWorkflow
from loomgit.workflows.comparing.request import ComparisonRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from loomgit.domain.changes import ChangeLog
    from loomgit.domain.comparison import Comparison, MeasuredSide, PipelineComparison, Side
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.runs import Case
    from loomgit.domain.values import JsonObject
    from loomgit.history.store import RunStore
    from loomgit.wiring.project import Wiring

EXAMPLES = 25  # maximum number of worse cases with replies; the same limit applies to better cases
VERSIONS = 20  # maximum number of versions per prompt; older versions are not shown
WATCHED = ("prompts", "context", "pipelines")


def report_overview(wiring: Wiring, *, since: datetime | None = None) -> Overview:
    """Return all pipelines with their runs since `since`, and the comparison with the baseline.

    The comparison uses only stored results. If a pipeline or the comparison cannot be read, the
    overview contains a note instead.
    """
    names = wiring.catalog.pipeline_names()
    comparison, notes = _compare(wiring) if names else (None, ())
    known = {} if comparison is None else gather_evidence(wiring.store, comparison)
    return Overview(
        project=wiring.root.name,
        commit=wiring.repository.head(),
        pipelines=tuple(_history(wiring, name, since) for name in names),
        since="" if since is None else f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        comparison=comparison,
        evidence=known,
        notes=notes,
    )


def report_changes(wiring: Wiring, *, since: datetime | None = None) -> ChangeLog:
    """Return the changes to prompts, context and pipelines, with their authors and approvers.

    The report covers the folders in `WATCHED`. It also covers prompts and context files in other
    folders if a pipeline of the working tree uses them. The scores in the report are stored, so
    that the next report shows the same scores.
    """
    paths = dict.fromkeys(WATCHED)
    for name in wiring.catalog.pipeline_names():
        pipeline, _ = _pipeline(wiring, name)
        if pipeline is not None:
            transform = pipeline.transform
            files = [transform.prompt, *(context.path for context in transform.context)]
            paths |= dict.fromkeys(path for path in files if path)
    scores = VersionScores(wiring, wiring.store.search())
    log = scores.fill_changes(read_changes(wiring.repository, list(paths), since=since))
    try:
        scores.keep_reported(log)
    except WorldError as error:
        wiring.warn(f"later runs may change the scores of this report: {error.message}")
    return log


def _history(wiring: Wiring, name: str, since: datetime | None) -> PipelineHistory:
    pipeline, note = _pipeline(wiring, name)
    everything = wiring.store.search(pipeline=name)
    runs = tuple(
        reversed(wiring.store.search(pipeline=name, since=in_utc(since)) if since else everything)
    )
    prompt = pipeline.transform.prompt if pipeline is not None else ""
    log = None
    scores = VersionScores(wiring, everything, name)
    if prompt:
        try:
            log = scores.fill_log(read_log(wiring.repository, prompt, VERSIONS))
        except LoomError as error:
            note = error.first_problem
    version = pipeline.version if pipeline is not None else None
    own = {commit: scores.own_fingerprint(name, commit) for commit in ambiguous_commits(runs)}
    return PipelineHistory(name, version, prompt or "", runs, log, note, own)


def _pipeline(wiring: Wiring, name: str) -> tuple[Pipeline | None, str]:
    """Return (pipeline, ""), or (None, reason) if the pipeline cannot be read."""
    try:
        return wiring.catalog.pipeline(name), ""
    except LoomError as error:
        return None, error.first_problem


def _compare(wiring: Wiring) -> tuple[Comparison | None, tuple[str, ...]]:
    try:
        comparison = CompareWorkflow(wiring, ComparisonRequest()).compare()
    except LoomError as error:
        return None, (f"there is no comparison: {error.first_problem}",)
    if not any(pipeline.base or pipeline.new for pipeline in comparison.pipelines):
        return None, comparison.notes or ("there is no comparison: the baseline has no results",)
    return comparison, ()


# -- the evidence of a comparison


def gather_evidence(store: RunStore, comparison: Comparison) -> dict[str, ComparisonEvidence]:
    """Return the scores and example replies behind a comparison, by pipeline title.

    Runs and records that are missing in this store are left out. There are examples only for the
    cases whose scores changed most, in both directions.
    """
    paths = {row.uid: store.folder / row.path for row in store.all()}
    return {result.title: _evidence(store, result, paths) for result in comparison.pipelines}


def _evidence(
    store: RunStore, result: PipelineComparison, paths: Mapping[str, Path]
) -> ComparisonEvidence:
    base, head = (_measured(store, side, paths) for side in (result.base, result.head))
    if base is None and head is None:
        return ComparisonEvidence()
    changes = [*result.worse[:EXAMPLES], *result.better[:EXAMPLES]]
    ids = {change.id for change in changes}
    base_replies, head_replies = (
        _replies(store, side, ids) if side is not None else {} for side in (base, head)
    )
    examples = {
        name: _example(name, base_replies, head_replies)
        for name in ids
        if name in base_replies or name in head_replies
    }
    return ComparisonEvidence(score_distributions(base, head), examples)


def _measured(store: RunStore, side: Side | None, paths: Mapping[str, Path]) -> MeasuredSide | None:
    """Return the stored results of a side, or None if no run can be read.

    If several runs contain a case, the case comes from the first of these runs.
    """
    first: MeasuredSide | None = None
    cases: dict[str, Case] = {}
    for uid in side.runs if side is not None else ():
        if uid not in paths:
            continue
        try:
            run = store.load(paths[uid])
        except WorldError:
            continue  # the file was removed, or is damaged (then the store warns)
        run_cases = run.cases or (load_cases(store, run) if run.records is not None else ())
        run_side = to_side(run, run_cases)
        first = first or run_side
        cases = {**run_side.cases, **cases}
    return None if first is None else replace(first, cases=cases)


Replies = dict[str, list[tuple[int, float, Reply]]]  # case id -> (sample index, mean score, reply)


def _replies(store: RunStore, side: MeasuredSide, ids: set[str]) -> Replies:
    """Return the replies to the cases in `ids` from the records of a side's runs.

    All replies to a case come from the first run that has a reply to the case.
    """
    replies: Replies = {}
    for uid in side.side.runs:
        of_run: Replies = {}
        for line in _lines(store.records_path(uid)):
            name = str(line.get("id", line.get("key")))
            case = side.cases.get(name)
            if name in ids and case is not None and line.get("def") == case.definition:
                number = line.get("index", 0) if "judgements" in line else 0
                of_run.setdefault(name, []).append(_reply(line, number))
        replies = {**of_run, **replies}
    return replies


def _lines(path: Path) -> Iterator[JsonObject]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return  # the records were removed, or are on another machine
    for line in lines:
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            continue


def _reply(line: Mapping[str, object], number: object) -> tuple[int, float, Reply]:
    """Convert a line of a records file to (sample index, mean score, reply).

    The line is a sample of a test run or a record of a pipeline run. `number` is the sample index.
    The caller passes it, because the lines of pipeline runs contain no index.
    """
    reasons = tuple(_reasons(line))
    values = [reason.value for reason in reasons if reason.value is not None]
    failure = line.get("failure", "")
    if isinstance(failure, dict):
        failure = failure.get("reason", "")
    text = line.get("text") or as_text(line.get("output") or "")  # type: ignore[arg-type]  # a JSON value
    mean = sum(values) / len(values) if values else 0.0
    return int(str(number)), mean, Reply(str(text), reasons, str(failure or ""))


def _reasons(line: Mapping[str, object]) -> Iterable[Reason]:
    judgements = line.get("judgements")
    if isinstance(judgements, dict):
        for name, judged in judgements.items():
            yield Reason(name, judged.get("value"), str(judged.get("reason") or ""))
        return
    scores, reasons = line.get("scores"), line.get("reasons")
    if isinstance(scores, dict) and isinstance(reasons, dict):
        for name, value in scores.items():
            yield Reason(name, value, str(reasons.get(name) or ""))


def _example(name: str, base: Replies, head: Replies) -> Example:
    """Return one reply of each side to a case: the pair whose mean scores differ most.

    A pair consists of two replies with the same sample index. If there is no pair, return the first
    reply of each side, or None for a side that has no reply.
    """
    before = {number: (mean, reply) for number, mean, reply in base.get(name, [])}
    after = {number: (mean, reply) for number, mean, reply in head.get(name, [])}
    both = sorted(before.keys() & after.keys())
    if both:
        number = max(both, key=lambda n: (abs(before[n][0] - after[n][0]), -n))
        return Example(name, before[number][1], after[number][1])
    first, second = (side[min(side)][1] if side else None for side in (before, after))
    return Example(name, first, second)
