"""Checks a pull request for `loom ci`, and publishes the result."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from msgspec.structs import replace

from loomgit.commands.screen import echo, echo_command
from loomgit.commands.verdict_document import verdict_document
from loomgit.domain.bills import Bill, billed_to
from loomgit.domain.comparison import Comparison, Revision
from loomgit.domain.safe_text import hide
from loomgit.errors import Denied, LoomError, ProblemsFound, UserError, WorldError
from loomgit.github.comments import COMMENT_LIMIT, Comments
from loomgit.github.workflow import SUMMARY_LIMIT, parse_workflow, render_annotation, render_notice
from loomgit.history.baselines import Baselines, read_event
from loomgit.report.bill import bill_document, bill_line
from loomgit.report.comparison import escape_control_characters, metric_cells, table
from loomgit.report.pull_request import PullRequestFindings, report
from loomgit.wiring.changed_inputs import changed_paths
from loomgit.workflows.guard.guard import Guard, GuardedChange
from loomgit.workflows.guard.patches import first_changed_line, prompt_patch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.commands.options import Common, Console
    from loomgit.domain.values import JsonObject
    from loomgit.github.workflow import Workflow
    from loomgit.wiring.project import Wiring
    from loomgit.wiring.project_files import ProjectOptions
    from loomgit.workflows.guard.guard import FailedTest, GuardVerdict

RESERVED_CHARACTERS = 400  # reserved in a comment for text that is added to the report
# The maximum number of annotations for each kind of finding. GitHub shows at most 10 errors and 10
# warnings for one step.
MAX_ANNOTATIONS = 10
_MENTION = re.compile(r"[@#](?=\w)")
FORK_NOTICE = "<sub>From a fork: written by a run of the fork's code, without secrets.</sub>\n\n"


def check(
    options: Common,
    *,
    dry_run: bool,
    strict: bool,
    budget: float | None,
    comment_file: Path | None,
    publish: Path | None,
    **selected: Unpack[ProjectOptions],
) -> int:
    """Check the changes of the checkout, publish the result, and return the exit code.

    `selected` contains the target, and the values that replace those of the test files.

    If `publish` is a path, nothing is checked. Instead, the text of this file, which another run
    wrote, is published as the comment. Raises LoomError.
    """
    workflow = parse_workflow(os.environ, read_event(os.environ))
    console = options.console
    if publish is not None:
        return _publish_foreign(console, workflow, publish)
    wiring = options.project(**selected).wiring
    fork = workflow is not None and workflow.fork
    guard = Guard(
        wiring,
        strict=strict,
        replay="auto" if fork else "off",  # a fork has no API keys; a replay needs none
        budget=budget,
        progress=lambda n, of: console.progress(f"{n:,}/{of:,}"),
    )
    bill = Bill()
    publisher = _Publisher(
        console, wiring, workflow, bill, dry_run=dry_run, comment_file=comment_file
    )
    change = _find_change(wiring, guard, workflow)
    try:
        if change.base is None and wiring.repository.is_shallow:
            raise UserError(f"no baseline to compare with: {change.why}")
        with (
            _trusted(wiring, change, fork=fork),
            console.only_document(),
            billed_to(bill),
        ):
            verdict = guard.judge(change)
    except LoomError as error:
        publisher.publish_failure(change, error)
        raise
    except KeyboardInterrupt:
        publisher.print_costs()
        raise
    publisher.publish_verdict(change, verdict)
    return _exit_code(verdict, fork=fork)


@contextmanager
def _trusted(wiring: Wiring, change: GuardedChange, *, fork: bool) -> Iterator[None]:
    """Allow both revisions of a change to run their own code and to use the API keys.

    If the pull request is from a fork, only the base is allowed to do so.
    """
    if not fork:
        wiring.trust.add(*filter(None, [change.base, change.head]))
        yield
        return
    if change.base is None:
        raise UserError(f"a pull request from a fork needs a base: {change.why}")
    reference = wiring.at(change.base)
    try:
        wiring.trust.only(change.base, reference)
        yield
    finally:
        reference.close()


def _exit_code(verdict: GuardVerdict, *, fork: bool) -> int:
    if verdict.blocked:
        return 1
    if verdict.is_verified or fork:
        return 0
    return (Denied if verdict.is_denied else WorldError).exit_code


def _find_change(wiring: Wiring, guard: Guard, workflow: Workflow | None) -> GuardedChange:
    """Return the change to check, which has a base revision and a head revision.

    In a GitHub workflow, the head revision is HEAD, because a step of the workflow may have changed
    the working tree.
    """
    repository = wiring.repository
    baselines = Baselines(repository, wiring.settings.baseline, wiring.variables)
    expression, head, name = None, None, None
    if workflow is not None:
        head = "HEAD"
        # HEAD is not the pushed commit if GitHub checked out the merge of the pull request.
        is_pushed_commit = workflow.head == repository.head().id
        known = workflow.base and repository.objects([f"{workflow.base}^{{commit}}"])[0]
        if known and (is_pushed_commit or workflow.pull is None):
            expression = f"{workflow.base}{'...' if workflow.pull else '..'}"
        if workflow.pull is not None and workflow.head:
            name = f"pull request {workflow.pull} ({workflow.head[:8]})"
            name += "" if is_pushed_commit else " as merged"
    ends = baselines.choose(expression, head)
    base_name = ends.base_name
    if expression is not None and workflow is not None and workflow.pull is None:
        base_name = "before the push"
    if workflow is not None and workflow.base:
        base_name = base_name.replace(workflow.base, workflow.base[:8])
    accepted = guard.acceptances(ends.base, ends.head) if ends.base else []
    return GuardedChange(
        ends.base,
        base_name,
        ends.head,
        name or ends.head_name,
        tuple(accepted),
        ends.why,
        ends.unknown,
    )


class _Publisher:
    """Publishes a check's result to the console, the job summary, annotations and a comment."""

    def __init__(
        self,
        console: Console,
        wiring: Wiring,
        workflow: Workflow | None,
        bill: Bill,
        *,
        dry_run: bool,
        comment_file: Path | None,
    ) -> None:
        self._console = console
        self._wiring = wiring
        self._workflow = workflow
        self._bill = bill
        self._dry_run = dry_run
        self._comment_file = comment_file

    def publish_verdict(self, change: GuardedChange, verdict: GuardVerdict) -> None:
        """Publish the verdict on a change."""
        unmeasured = verdict.unmeasured
        is_repeated = unmeasured is not None and verdict.reason in unmeasured.message
        findings = PullRequestFindings(
            verdict.comparison,
            verdict.blocked,
            tuple(
                f"{f.outcome.file}::{f.outcome.full_name}: {_failure_reason(f)}"
                for f in verdict.failures
            ),
            verdict.accepted,
            tuple(verdict.unverified_lines(verdict.reason if is_repeated else "")),
            verdict.unread,
            lost=verdict.lost,
            unmeasured="" if unmeasured is None else unmeasured.message,
            diff=prompt_patch(self._wiring, change),
            notes=tuple(self._notes(change)),
        )
        lines = list(table(verdict.comparison))
        marks = list(self._annotations(change, verdict))
        address = self._publish(findings, lines, marks)
        if self._workflow is None and not self._dry_run:  # without annotations, print the reasons
            self._print_reasons(findings)
        body: JsonObject = {
            **verdict_document(verdict),
            "spent": bill_document(self._bill),
            "comment": address,
        }
        self._console.document(body)

    def publish_failure(self, change: GuardedChange, error: LoomError) -> None:
        """Publish the reason why there is no verdict. The caller prints `error`."""
        inside = self._wiring.repository.in_repository
        base = Revision(change.base_name, change.base or "")
        head = Revision(change.head_name, change.head or "")
        empty = Comparison(base, head, "inconclusive", (), change.base is None)
        if isinstance(error, ProblemsFound):
            findings = PullRequestFindings(
                empty, blocked=True, faults=tuple(map(str, error.problems))
            )
            marks = [
                render_annotation("error", inside(p.place.path), p.place.line, "Loom", p.message)
                for p in error.problems[:MAX_ANNOTATIONS]
            ]
        else:
            findings = PullRequestFindings(empty, unmeasured=error.message)
            marks = [render_notice("error", f"Loom: {error.message}")]
        self._publish(replace(findings, notes=tuple(self._notes(change))), [], marks)

    def _publish(self, findings: PullRequestFindings, lines: list[str], marks: list[str]) -> str:
        """Publish a report; return the comment's URL, or empty text if there is no comment."""
        text = hide(report(findings, limit=COMMENT_LIMIT - RESERVED_CHARACTERS))
        if self._comment_file is not None:
            _write(self._comment_file, text)
        if self._dry_run:
            self._console.answer(text.rstrip("\n"), plain=True)
            return ""
        for line in lines:
            self._console.print(line)
        self.print_costs()
        if self._workflow is None:
            return ""
        for mark in marks:
            echo_command(mark, err=self._console.json)
        self._summarize(self._workflow, text)
        return self._comment(self._workflow, text)

    def _summarize(self, workflow: Workflow, text: str) -> None:
        if workflow.summary is None:
            return
        try:
            with workflow.summary.open("a", encoding="utf-8") as file:
                file.write(text.encode()[:SUMMARY_LIMIT].decode(errors="ignore") + "\n")
        except OSError as error:
            self._console.warn(f"cannot write the job summary: {error.strerror or error}")

    def _comment(self, workflow: Workflow, text: str) -> str:
        if workflow.pull is None or workflow.fork:
            return ""
        return _comment(self._console, workflow, text, self._wiring.repository.in_repository("."))

    def _print_reasons(self, findings: PullRequestFindings) -> None:
        """Print the reasons for a nonzero exit code to stderr."""
        for line in findings.failures:
            self._console.error(escape_control_characters(f"failed: {line}"))
        for line in filter(None, [findings.unmeasured, *findings.unread, *findings.unverified]):
            self._console.warn(escape_control_characters(f"unverified: {line}"))

    def print_costs(self) -> None:
        """Print the cost to stderr, but not if the cost is zero or --quiet is set."""
        if self._console.quiet or self._bill.is_free:
            return
        self._console.clear()
        echo(f"Spent: {bill_line(self._bill)}", err=True)

    def _notes(self, change: GuardedChange) -> Iterator[str]:
        if not self._bill.is_free:
            yield f"This check spent {bill_line(self._bill)}."
        if self._workflow is not None and self._workflow.fork:
            yield "a pull request from a fork has no secrets: unrecorded calls are unverified"
        if change.base is not None and self._wiring.repository.is_shallow:
            yield "shallow clone: losses accepted in earlier commits are unknown"

    def _annotations(self, change: GuardedChange, verdict: GuardVerdict) -> Iterator[str]:
        """Yield annotations for degraded pipelines, failed tests and unverified tests.

        A degraded pipeline is annotated at the first changed line of its prompt.
        """
        inside = self._wiring.repository.in_repository
        for result in verdict.comparison.pipelines:
            if result.outcome != "degraded":
                continue
            metrics = [m for m in result.metrics if m.gated and m.outcome == "degraded"]
            message = "; ".join(f"{m.name}: {' '.join(metric_cells(m)[1:4])}" for m in metrics)
            path = next(iter(changed_paths(result.inputs)), f"pipelines/{result.pipeline}.yaml")
            line = first_changed_line(self._wiring, change, path)
            yield render_annotation(
                "error", inside(path), line, f"{result.title} degraded", message
            )
        for failure in verdict.failures[:MAX_ANNOTATIONS]:
            title = f"{failure.outcome.full_name} failed"
            file = inside(failure.outcome.file)
            yield render_annotation("error", file, failure.line, title, _failure_reason(failure))
        if verdict.unmeasured is not None:
            yield render_notice("warning", f"Loom: not compared: {verdict.unmeasured.message}")
        for message in verdict.unread[:MAX_ANNOTATIONS]:
            yield render_notice("warning", f"Loom: unverified: {message}")
        for message in verdict.lost[:MAX_ANNOTATIONS]:
            yield render_notice("warning", f"Loom: {message}")
        for entry in verdict.unverified[:MAX_ANNOTATIONS]:
            title = f"{entry.full_name} is unverified"
            yield render_annotation("warning", inside(entry.file), 1, title, entry.message)


def _comment(console: Console, workflow: Workflow, text: str, project: str) -> str:
    """Write the comment and return its URL.

    If this fails, only a warning is printed, because the verdict is still valid.
    """
    if not workflow.token:
        console.warn("the comment was not written: GITHUB_TOKEN is not set")
        return ""
    try:
        return asyncio.run(Comments(workflow, project).publish(text))
    except WorldError as error:
        console.warn(f"the comment was not written: {error.message}")
        return ""


def _publish_foreign(console: Console, workflow: Workflow | None, file: Path) -> int:
    """Publish the comment in `file`. Code from a fork wrote this file.

    The text is untrusted. Therefore, the comment starts with a notice about its origin, and the
    @mentions and #references in the text are disabled.
    """
    if workflow is None or not workflow.token:
        raise UserError(
            "--publish needs GITHUB_TOKEN to write a comment",
            hint="use it in a workflow that runs after another one (docs/pull-requests.md)",
        )
    text = _read_plain(file, 4 * COMMENT_LIMIT).decode("utf-8", "replace")
    harmless = _MENTION.sub("\\g<0>\u200b", text)[
        : COMMENT_LIMIT - RESERVED_CHARACTERS - len(FORK_NOTICE)
    ]
    address = asyncio.run(Comments(workflow).publish(FORK_NOTICE + harmless))
    console.print(address)
    console.document({"schema_version": 1, "comment": address})
    return 0


def _read_plain(path: Path, size: int) -> bytes:
    """Return the first `size` bytes of a file that the code of a fork created.

    Raises UserError if `path` is a symbolic link, or if it is relative and leads through a symbolic
    link, because such a link could disclose another file.
    """
    real = Path.cwd().resolve() / path
    if path.is_symlink() or (not path.is_absolute() and real.resolve() != real):
        raise UserError(f"{path} is or contains a symbolic link", hint="publish a plain file")
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as opened:
        return opened.read(size)


def _failure_reason(failure: FailedTest) -> str:
    failed_checks = (
        f"{check.text} (actual: {check.actual})" if check.actual else check.text
        for check in failure.result.checks
        if check.verdict != "pass"
    )
    return " ".join(failure.outcome.message.split()) or "; ".join(failed_checks)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
