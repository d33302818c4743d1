"""Reports of a project: what the stored runs, Git's history and the latest comparison say."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from loomgit.domain.values import as_text
from loomgit.errors import LoomError, ProblemsFound, WorldError
from loomgit.history.changes import read_changes
from loomgit.history.evidence import load_cases, measured
from loomgit.history.log import read_log
from loomgit.report.evidence import Evidence, Example, Reason, Reply, spreads
from loomgit.report.overview import Overview, PipelineHistory, ambiguous_commits
from loomgit.wiring.version_scores import VersionScores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from loomgit.api import Project
    from loomgit.domain.changes import ChangeLog
    from loomgit.domain.comparison import Comparison, Measured, PipelineComparison, Side
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.runs import Case
    from loomgit.domain.values import JsonObject
    from loomgit.history.store import RunStore

EXAMPLES = 25  # cases each way whose replies are looked up
VERSIONS = 20  # of a prompt
WATCHED = ("prompts", "context", "pipelines")


def report_overview(project: Project, *, since: datetime | None = None) -> Overview:
    """The project's pipelines with the runs `since` then, and the comparison that the stored
    results allow. What cannot be read is a note, no error."""
    repository = project.wiring.repository
    names = project.pipeline_names()
    comparison, notes = _compare(project) if names else (None, ())
    known = {} if comparison is None else gather_evidence(project.wiring.store, comparison)
    return Overview(
        project=project.root.name,
        commit=repository.head(),
        pipelines=tuple(_history(project, name, since) for name in names),
        since="" if since is None else f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        comparison=comparison,
        evidence=known,
        notes=notes,
    )


def report_changes(project: Project, *, since: datetime | None = None) -> ChangeLog:
    """Who changed prompts, context and pipelines and who approved it: the three folders, and the
    files elsewhere that a pipeline of the working tree uses. The scores are noted, so that the next
    report shows the same."""
    paths = dict.fromkeys(WATCHED)
    for name in project.pipeline_names():
        pipeline, _ = _pipeline(project, name)
        if pipeline is not None:
            transform = pipeline.transform
            files = [transform.prompt, *(context.path for context in transform.context)]
            paths |= dict.fromkeys(path for path in files if path)
    wiring = project.wiring
    scores = VersionScores(wiring, project.runs())
    log = scores.fill_changes(read_changes(wiring.repository, list(paths), since=since))
    try:
        scores.keep_reported(log)
    except WorldError as error:
        wiring.warn(f"later runs may move the scores of this report: {error.message}")
    return log


def _history(project: Project, name: str, since: datetime | None) -> PipelineHistory:
    pipeline, note = _pipeline(project, name)
    everything = project.runs(name)
    runs = tuple(reversed(project.runs(name, since=since) if since else everything))
    prompt = pipeline.transform.prompt if pipeline is not None else ""
    log = None
    scores = VersionScores(project.wiring, everything, name)
    if prompt:
        try:
            log = scores.fill_log(read_log(project.wiring.repository, prompt, VERSIONS))
        except LoomError as error:
            note = _line(error)
    version = pipeline.version if pipeline is not None else None
    own = {commit: scores.own_fingerprint(name, commit) for commit in ambiguous_commits(runs)}
    return PipelineHistory(name, version, prompt or "", runs, log, note, own)


def _pipeline(project: Project, name: str) -> tuple[Pipeline | None, str]:
    """The definition, or why there is none."""
    try:
        return project.pipeline(name), ""
    except LoomError as error:
        return None, _line(error)


def _compare(project: Project) -> tuple[Comparison | None, tuple[str, ...]]:
    try:
        found = project.compare()
    except LoomError as error:
        return None, (f"there is no comparison: {_line(error)}",)
    if not any(pipeline.base or pipeline.new for pipeline in found.pipelines):
        return None, found.notes or ("there is no comparison: the baseline has no results",)
    return found, ()


def _line(error: LoomError) -> str:
    return str(error.problems[0]) if isinstance(error, ProblemsFound) else error.message


# -- what lies behind a comparison


def gather_evidence(store: RunStore, comparison: Comparison) -> dict[str, Evidence]:
    """The scores and the replies behind a comparison, as far as runs and records are stored here.

    Of the cases that moved the first ones each way have their replies.
    """
    paths = {row.uid: store.folder / row.path for row in store.all()}
    return {found.pipeline: _evidence(store, found, paths) for found in comparison.pipelines}


def _evidence(store: RunStore, found: PipelineComparison, paths: Mapping[str, Path]) -> Evidence:
    base, head = (_measured(store, side, paths) for side in (found.base, found.head))
    if base is None and head is None:
        return Evidence()
    moved = [*found.worse[:EXAMPLES], *found.better[:EXAMPLES]]
    wanted = {change.id for change in moved}
    one, two = (_replies(store, side, wanted) if side is not None else {} for side in (base, head))
    examples = {name: _example(name, one, two) for name in wanted if name in one or name in two}
    return Evidence(spreads(base, head), examples)


def _measured(store: RunStore, side: Side | None, paths: Mapping[str, Path]) -> Measured | None:
    """A side's results again: of several runs the first that has a case gives it."""
    found: Measured | None = None
    cases: dict[str, Case] = {}
    for uid in side.runs if side is not None else ():
        if uid not in paths:
            continue
        try:
            run = store.load(paths[uid])
        except WorldError:
            continue  # damaged or removed: the store says so
        held = run.cases or (load_cases(store, run) if run.records is not None else ())
        one = measured(run, held)
        found = found or one
        cases = {**one.cases, **cases}
    return None if found is None else replace(found, cases=cases)


Replies = dict[str, list[tuple[int, float, Reply]]]  # of a case: number, mean score, reply


def _replies(store: RunStore, side: Measured, wanted: set[str]) -> Replies:
    """The replies to these cases in the records of a side's runs; of a case those of one run."""
    found: Replies = {}
    for uid in side.side.runs:
        own: Replies = {}
        for line in _lines(store.folder / "records" / f"{uid}.jsonl"):
            name = str(line.get("id", line.get("key")))
            case = side.cases.get(name)
            if name in wanted and case is not None and line.get("def") == case.definition:
                number = line.get("index", 0) if "judgements" in line else 0
                own.setdefault(name, []).append(_reply(line, number))
        found = {**own, **found}
    return found


def _lines(path: Path) -> Iterator[JsonObject]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return  # removed, or kept on another machine
    for line in lines:
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            continue


def _reply(line: Mapping[str, object], number: object) -> tuple[int, float, Reply]:
    """A line of a test's samples or of a run's records as a reply."""
    reasons = tuple(_reasons(line))
    values = [reason.value for reason in reasons if reason.value is not None]
    failure = line.get("failure", "")
    if isinstance(failure, dict):
        failure = failure.get("reason", "")
    text = line.get("text") or as_text(line.get("output") or "")  # type: ignore[arg-type]  # JSON, as it was read
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
    """The sample that moved the farthest, on both sides; where numbers differ, the first."""
    one = {number: (mean, reply) for number, mean, reply in base.get(name, [])}
    two = {number: (mean, reply) for number, mean, reply in head.get(name, [])}
    both = sorted(one.keys() & two.keys())
    if both:
        number = max(both, key=lambda n: (abs(one[n][0] - two[n][0]), -n))
        return Example(name, one[number][1], two[number][1])
    first, second = (side[min(side)][1] if side else None for side in (one, two))
    return Example(name, first, second)
