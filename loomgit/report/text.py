"""Render runs and checks as text for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.amounts import dollars
from loomgit.domain.models import other_models
from loomgit.report.signs import BAD, OK, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from loomgit.domain.checks import AppValidation, ValidationCheck, ValidationResult
    from loomgit.domain.runs import Run, RunSummary, ScoreSummary

UNKNOWN = "unknown"


def run_heading(pipeline: str, version: str | None) -> Iterator[str]:
    """Yield the lines that `loom run` shows before the first stage."""
    yield f"Pipeline: {named(pipeline, version)}"
    yield "Status: Running..."
    yield ""


def extracted(records: int, refused: int, duration: float, note: str = "") -> str:
    """Return the line of the stage `Extract`.

    `refused` is the number of records that cannot be stored exactly. `note` is a remark, or "".
    """
    mark, remark = (BAD, f", {refused:,} of them refused") if refused else (OK, "")
    remark += f", {note}" if note else ""
    return f"Extract:   {mark} {records:,} records{remark} ({seconds(duration)})"


def run_result(run: Run) -> Iterator[str]:
    """Yield the lines to print after the `Extract` line of a run.

    The first lines show the other stages or, for a run of tests, the tests. The other lines show
    the results, scores, cost and performance.
    """
    yield from _tests(run) if run.kind == "test" else _stages(run)
    yield ""
    yield from _results(run)
    if others := other_models(run.config.model, run.served):
        yield f"  {SKIPPED} requests for {run.config.model} were answered by {' and '.join(others)}"
    if run.evaluation:
        yield ""
        yield "Evaluation Scores:"
        width = max(len(title(name)) for name in run.evaluation) + 1
        for name, summary in run.evaluation.items():
            yield f"  {title(name) + ':':<{width}} {score(summary)}"
    yield ""
    yield f"Cost: {money(run.cost.total)}"
    yield f"  Transform: {money(run.cost.breakdown['transform'])}"
    yield f"  Evaluate:  {money(run.cost.breakdown['evaluate'])}"
    if run.resumes:
        yield f"  All attempts: {money(run.cost.all_attempts)}"
    yield ""
    yield "Performance:"
    yield f"  Total Duration: {seconds(run.performance.duration)}"
    for q in ("p50", "p95"):
        yield f"  {q} Latency:    {latency(run.performance.latency[q])}"
    yield ""
    yield ending(run)


def _stages(run: Run) -> Iterator[str]:
    results, stages = run.results, run.performance.stages
    done = OK if results.records_processed == run.selected else BAD
    processed = f"{results.records_processed:,} processed"
    if run.config.model or run.config.program:
        yield f"Transform: {done} {processed} ({seconds(stages['transform'])})"
    verdict = f"{results.records_validated:,} passed, {results.records_rejected:,} rejected"
    yield f"Evaluate:  {done} {verdict} ({seconds(stages['evaluate'])})"
    loaded = OK if results.records_loaded or not results.records_validated else BAD
    yield f"Load:      {loaded} {results.records_loaded:,} loaded ({seconds(stages['load'])})"


def _tests(run: Run) -> Iterator[str]:
    """Yield the number of tests by verdict, and a line for each test that did not pass."""
    verdicts = [test.verdict for test in run.tests]
    counts = ", ".join(f"{verdicts.count(v):,} {v}" for v in dict.fromkeys(verdicts))
    selected = f" ({run.selected:,} of {run.total:,} selected)" if run.selected < run.total else ""
    yield f"Tests: {len(verdicts):,}{selected}{': ' if counts else ''}{counts}"
    for test in run.tests:
        if test.verdict == "pass":
            continue
        failed = [str(check["text"]) for check in test.checks if check["verdict"] != "pass"]
        reason = test.message.partition("\n")[0] or "; ".join(failed)
        mark = BAD if test.verdict in ("fail", "error") else SKIPPED
        yield f"  {mark} {test.name}: {test.verdict}{' - ' if reason else ''}{reason}"
    if not run.complete:
        yield "  not all tests of the pipeline finished: this run cannot be a baseline"


def _results(run: Run) -> Iterator[str]:
    results = run.results
    yield "Results:"
    yield f"  Processed: {results.records_processed:,}"
    yield f"  Validated: {share(results.records_validated, results.records_processed)}"
    yield f"  Rejected:  {share(results.records_rejected, results.records_processed)}"
    if results.records_failed:
        yield f"  Failed:    {results.records_failed:,} of them without a score"
    for reason, count in results.reasons.items():
        yield f"    {count:,} x {' '.join(reason.split())[:160]}"
    if results.records_fallback:
        yield f"  Fallback:  {results.records_fallback:,}"
    if run.kind == "pipeline":
        yield f"  Changed:   {changes(run)}"


def changes(run: Run) -> str:
    """Return the changes to the destination as text.

    Examples are `3 new, 1 updated, 96 unchanged` and `nothing`.
    """
    results = run.results
    if not (results.inserted or results.updated or results.deleted):
        unchanged = f" ({results.unchanged:,} rows unchanged)" if results.unchanged else ""
        text = f"nothing{unchanged}"
    else:
        counts = [(results.inserted, "new"), (results.updated, "updated")]
        counts += [(results.deleted, "deleted"), (results.unchanged, "unchanged")]
        text = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    if results.duplicates:
        text += f"; {results.duplicates:,} superseded by a later record of the same key"
    if results.kept_out:
        text += f"; {results.kept_out:,} not stored by the destination (a trigger, or ON CONFLICT)"
    if results.kept_rows:
        text += f"; {results.kept_rows:,} earlier rows of rejected records kept"
    return text


def ending(run: Run) -> str:
    """Return the last line about a run: success, or the status with its reason."""
    results = run.results
    if run.kind == "test":
        return f"{BAD} {results.message}" if results.message else f"{OK} All tests passed"
    if results.status == "success":
        return f"{OK} Pipeline completed successfully"
    word = {"partial": "Pipeline partial", "failed": "Pipeline failed"}
    return f"{BAD} {word.get(results.status, 'Budget exceeded')}: {results.message.splitlines()[0]}"


def run_list(rows: Sequence[RunSummary]) -> Iterator[str]:
    """Yield the lines of a table of runs, newest first."""
    if not rows:
        yield "No runs yet."
        return
    table = [("RUN", "PIPELINE", "STATUS", "PASSED", "SCORE", "COST", "SECONDS", "COMMIT")]
    for row in reversed(rows):
        commit = row.commit[:8] + ("-dirty" if row.dirty and row.commit != "unborn" else "")
        table.append(
            (
                row.run_id,
                row.pipeline,
                row.status,
                f"{row.validated:,}/{row.processed:,}",
                "-" if row.score is None else f"{row.score:.2f}",
                money(row.cost),
                f"{row.duration:.1f}",
                commit,
            )
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        yield "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()


def run_lineage(run: Run) -> Iterator[str]:
    """Yield lines with the versions of a run's inputs, for `loom runs show`."""
    commit = run.commit
    yield f"Run:       {run.run_id} ({run.uid})"
    where = f" on {commit.branch}" if commit.branch else ""
    changed = ", with uncommitted changes" if commit.dirty and commit.id != "unborn" else ""
    yield f"Commit:    {commit.id}{where}{changed}"
    yield f"Started:   {run.started}"
    if run.resumes:
        yield f"Resumes:   {run.resumes}"
    if run.target is not None:
        yield f"Target:    {run.target}"
    if run.watermark is not None:
        before, after = run.watermark.before or "none", run.watermark.after or "none"
        yield f"Watermark: {before} -> {after} ({run.watermark.cursor})"
    if run.config.prompt_version:
        yield f"Prompt:    {run.config.prompt_version}"
    version = f" ({run.config.model_version})" if run.config.model_version else ""
    if run.config.model:
        yield f"Model:     {run.config.model}{version}"
    if run.config.program:
        yield f"Program:   {run.config.program}"
    for name, context_version in run.config.context_versions.items():
        yield f"Context:   {name} ({context_version})"
    yield f"Source:    {run.source}"
    if run.destination:
        yield f"Loaded to: {run.destination}"
    if run.records is not None:
        yield f"Records:   .loom/{run.records.path}"


def validation(result: ValidationResult, *, only_problems: bool = False) -> Iterator[str]:
    """Yield the lines of the checklist of `loom validate`.

    If `only_problems` is true, yield only the failed checks, and nothing if there are none.
    """
    if only_problems and result.valid:
        return
    yield f"Validating: {named(result.pipeline, result.version)}"
    for section in result.sections:
        lines = list(_checks(section.checks, only_problems=only_problems))
        if not lines and only_problems:
            continue
        yield ""
        yield f"{section.title}:"
        yield from lines
    yield ""
    yield f"Pipeline is valid {OK}" if result.valid else f"Pipeline is not valid {BAD}"


def app_validation(result: AppValidation, *, only_problems: bool = False) -> Iterator[str]:
    """Yield the lines of the checklist of an app, as `validation` does for a pipeline."""
    if only_problems and result.valid:
        return
    yield f"Validating app: {result.app}"
    yield ""
    yield from _checks(result.checks, only_problems=only_problems)
    yield ""
    yield f"App is valid {OK}" if result.valid else f"App is not valid {BAD}"


def _checks(checks: Iterable[ValidationCheck], *, only_problems: bool) -> Iterator[str]:
    for check in checks:
        if only_problems and check.ok is not False:
            continue
        mark = OK if check.ok else SKIPPED if check.ok is None else BAD
        yield f"  {mark} {check.text}"
        yield from (f"       {line}" for line in check.detail.splitlines())


def named(pipeline: str, version: str | None) -> str:
    """Return the name of a pipeline with its version: `customer_sentiment (v2.1.0)`."""
    if version is None:
        return pipeline
    return f"{pipeline} ({version if version.startswith('v') else f'v{version}'})"


def title(name: str) -> str:
    """Return a name as a title: `Semantic Similarity` for `semantic_similarity`."""
    return name.replace("_", " ").title() if name.isidentifier() else name


def score(summary: ScoreSummary) -> str:
    """Return the mean and the standard deviation of a score: `0.87 (±0.12)`.

    If evaluations failed, the text also contains the number of errors.
    """
    if summary.mean is None:
        return f"no score ({summary.errors:,} errors)"
    spread = "" if summary.std is None else f" (±{summary.std:.2f})"
    errors = f", {summary.errors:,} errors" if summary.errors else ""
    return f"{summary.mean:.2f}{spread}{errors}"


def share(count: int, total: int) -> str:
    """Return a number with its percentage of `total`: `9,847 (98.5%)`."""
    return f"{count:,} ({count / total:.1%})" if total else f"{count:,}"


def money(amount: float | None) -> str:
    """Return an amount in USD as text with two decimals.

    An amount below $0.10 has two significant digits: `$0.000074`. An unknown amount (None) is
    `unknown`.
    """
    return UNKNOWN if amount is None else dollars(amount)


def seconds(duration: float) -> str:
    """Return a duration as text: `45.2s`."""
    return f"{duration:.1f}s"


def latency(wait: float | None) -> str:
    """Return a latency as text: `1.2s`, `46ms` below 0.1 s, or `-` if no call was made."""
    if wait is None:
        return "-"
    return f"{wait:.1f}s" if wait >= 0.1 else f"{wait * 1000:.2g}ms"
