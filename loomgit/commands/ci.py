"""`loom ci`: a pull request judged, and told: summary, comment, annotations, exit code."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from loomgit.commands.numbers import FiniteNumber
from loomgit.commands.options import Common, common
from loomgit.commands.screen import echo, echo_command
from loomgit.domain.bills import Bill, billed_to
from loomgit.domain.outside import hide
from loomgit.errors import Denied, LoomError, ProblemsFound, UserError, WorldError
from loomgit.guards.patches import changed_paths, first_changed_line, prompt_patch
from loomgit.report.bill import bill_document, bill_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.commands.options import Console
    from loomgit.domain.values import JsonObject
    from loomgit.guards.guard import Change, Failure, Guard, Judgement
    from loomgit.hooks.github import Workflow
    from loomgit.report.pull_request import Found
    from loomgit.wiring.project import Wiring

ROOM = 400  # characters that the comment needs besides the report
MOST_ANNOTATIONS = 10  # of a kind, as many as GitHub shows for a step
_MENTION = re.compile(r"[@#](?=\w)")
FOREIGN = "<sub>From a fork: written by a run of its own code, which has no secrets.</sub>\n\n"


@click.command("ci")
@click.option("--dry-run", is_flag=True, help="Print the comment; publish nothing.")
@click.option("--strict", is_flag=True, help="Exit 1 unless no worse is proven.")
@click.option("--budget", type=FiniteNumber(min=0), metavar="USD", help="Spend no more than this.")
@click.option(
    "--comment-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the comment here too: for a workflow that may publish it.",
)
@click.option(
    "--publish",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    help="Only publish the comment that another run wrote with --comment-file.",
)
@common
def command(
    options: Common,
    dry_run: bool,
    strict: bool,
    budget: float | None,
    comment_file: Path | None,
    publish: Path | None,
) -> int:
    """Judge what this checkout changes, and tell the pull request.

    Exit codes: 0 it may be merged, 1 degraded, a test failed, or over budget, 2 something must be
    changed first, 4 it could not be measured. The report is published before any of them.
    """
    from loomgit.guards.guard import Guard  # noqa: PLC0415 - `--help` must not pay for it
    from loomgit.history.baselines import read_event  # noqa: PLC0415
    from loomgit.hooks.github import parse_workflow  # noqa: PLC0415

    workflow = parse_workflow(os.environ, read_event(os.environ))
    console = options.console
    if publish is not None:
        return _publish_foreign(console, workflow, publish)
    wiring = options.project().wiring
    fork = workflow is not None and workflow.fork
    guard = Guard(
        wiring,
        strict=strict,
        replay="auto" if fork else "off",  # what needs no secrets can be asked all the same
        budget=budget,
        progress=lambda n, of: console.progress(f"{n:,}/{of:,}"),
    )
    bill = Bill()
    teller = _Teller(console, wiring, workflow, bill, dry_run=dry_run, comment_file=comment_file)
    change = _change(wiring, guard, workflow)
    try:
        if change.base is None and wiring.repository.is_shallow:
            raise UserError(f"nothing to compare with: {change.why}")
        _trust(wiring, change, fork=fork)
        with console.only_document(), billed_to(bill):
            judgement = guard.judge(change)
    except LoomError as error:
        teller.tell_failure(change, error)
        raise
    except KeyboardInterrupt:
        teller.tell_costs()
        raise
    teller.tell(change, judgement)
    return _exit_code(judgement, fork=fork)


def _trust(wiring: Wiring, change: Change, *, fork: bool) -> None:
    """Trust both sides of a change, of a pull request from a fork the base alone."""
    if not fork:
        wiring.trust.add(*filter(None, [change.base, change.head]))
    elif change.base is None:
        raise UserError(f"a pull request from a fork needs a base: {change.why}")
    else:
        wiring.trust.only(change.base, wiring.at(change.base))


def _exit_code(judgement: Judgement, *, fork: bool) -> int:
    if judgement.blocked:
        return 1
    if judgement.is_verified or fork:
        return 0
    return (Denied if judgement.is_denied else WorldError).exit_code


def _change(wiring: Wiring, guard: Guard, workflow: Workflow | None) -> Change:
    """What was checked out, against what it is meant to change."""
    from loomgit.guards.guard import Change  # noqa: PLC0415 - as above
    from loomgit.history.baselines import Baselines  # noqa: PLC0415

    repository = wiring.repository
    baselines = Baselines(repository, wiring.settings.baseline, wiring.variables)
    expression, head, name = None, None, None
    if workflow is not None:
        head = "HEAD"  # whatever a step before this one has left in the working tree
        pushed = workflow.head == repository.head().id  # and not the merge that GitHub tests
        known = workflow.base and repository.objects([f"{workflow.base}^{{commit}}"])[0]
        if known and (pushed or workflow.pull is None):
            expression = f"{workflow.base}{'...' if workflow.pull else '..'}"
        if workflow.pull is not None and workflow.head:
            name = f"pull request {workflow.pull} ({workflow.head[:8]})"
            name += "" if pushed else " as merged"
    ends = baselines.choose(expression, head)
    base_name = ends.base_name
    if expression is not None and workflow is not None and workflow.pull is None:
        base_name = "before the push"
    if workflow is not None and workflow.base:
        base_name = base_name.replace(workflow.base, workflow.base[:8])
    accepted = guard.acceptances(ends.base, ends.head) if ends.base else []
    return Change(
        ends.base,
        base_name,
        ends.head,
        name or ends.head_name,
        tuple(accepted),
        ends.why,
        ends.unknown,
    )


class _Teller:
    """Tells what was found, everywhere it can be told, before the exit code speaks."""

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

    def tell(self, change: Change, judgement: Judgement) -> None:
        """The judgement."""
        from loomgit.report.comparison import document, table  # noqa: PLC0415 - as above
        from loomgit.report.pull_request import Found  # noqa: PLC0415

        unmeasured = judgement.unmeasured
        known = unmeasured is not None and judgement.reason in unmeasured.message
        said = judgement.reason if known else ""
        found = Found(
            judgement.comparison,
            judgement.blocked,
            tuple(f"{f.entry.file}::{f.entry.full_name}: {_why(f)}" for f in judgement.failures),
            judgement.accepted,
            tuple(judgement.lacks(said)),
            judgement.unread,
            lost=judgement.lost,
            unmeasured="" if unmeasured is None else unmeasured.message,
            diff=prompt_patch(self._wiring, change),
            notes=tuple(self._notes(change)),
        )
        lines = list(table(judgement.comparison))
        marks = list(self._annotations(change, judgement))
        address = self._publish(found, lines, marks)
        if self._workflow is None and not self._dry_run:  # there are no annotations
            self._tell_reasons(found)
        body: JsonObject = {
            **document(judgement.comparison, blocked=judgement.blocked),
            "failures": [f.entry.full_name for f in judgement.failures],
            "accepted": list(judgement.accepted),
            "unverified": [entry.full_name for entry in judgement.unverified],
            "unread": list(judgement.unread),
            "lost": list(judgement.lost),
            "unmeasured": found.unmeasured or None,
            "spent": bill_document(self._bill),
            "comment": address,
        }
        self._console.document(body)

    def tell_failure(self, change: Change, error: LoomError) -> None:
        """That there is no judgement, and why; the error itself is for whoever raised it."""
        from loomgit.domain.comparison import Comparison, Revision  # noqa: PLC0415 - as above
        from loomgit.hooks.github import annotation, notice  # noqa: PLC0415
        from loomgit.report.pull_request import Found  # noqa: PLC0415

        inside = self._wiring.repository.in_repository
        base = Revision(change.base_name, change.base or "")
        head = Revision(change.head_name, change.head or "")
        nothing = Comparison(base, head, "inconclusive", (), change.base is None)
        if isinstance(error, ProblemsFound):
            found = Found(nothing, blocked=True, faults=tuple(map(str, error.problems)))
            marks = [
                annotation("error", inside(p.place.path), p.place.line, "Loom", p.message)
                for p in error.problems[:MOST_ANNOTATIONS]
            ]
        else:
            found = Found(nothing, unmeasured=error.message)
            marks = [notice("error", f"Loom: {error.message}")]
        self._publish(replace(found, notes=tuple(self._notes(change))), [], marks)

    def _publish(self, found: Found, lines: list[str], marks: list[str]) -> str:
        """Returns the comment's address, empty where there is none."""
        from loomgit.hooks.comments import COMMENT_LIMIT  # noqa: PLC0415 - as above
        from loomgit.report.pull_request import report  # noqa: PLC0415

        text = hide(report(found, limit=COMMENT_LIMIT - ROOM))
        if self._comment_file is not None:
            _write(self._comment_file, text)
        if self._dry_run:
            self._console.answer(text.rstrip("\n"))
            return ""
        for line in lines:
            self._console.print(line)
        self.tell_costs()
        if self._workflow is None:
            return ""
        for mark in marks:
            echo_command(mark, err=self._console.json)
        self._summarize(self._workflow, text)
        return self._comment(self._workflow, text)

    def _summarize(self, workflow: Workflow, text: str) -> None:
        from loomgit.hooks.github import SUMMARY_LIMIT  # noqa: PLC0415 - as above

        if workflow.summary is None:
            return
        try:
            with workflow.summary.open("a", encoding="utf-8") as file:
                file.write(text.encode()[:SUMMARY_LIMIT].decode(errors="ignore") + "\n")
        except OSError as error:
            self._console.warn(f"no job summary: {error.strerror or error}")

    def _comment(self, workflow: Workflow, text: str) -> str:
        if workflow.pull is None or workflow.fork:
            return ""
        return _comment(self._console, workflow, text, self._wiring.repository.in_repository("."))

    def _tell_reasons(self, found: Found) -> None:
        """Why the exit code is not 0, on stderr."""
        from loomgit.report.comparison import shown  # noqa: PLC0415 - as above

        for line in found.failures:
            self._console.error(shown(f"failed: {line}"))
        for line in filter(None, [found.unmeasured, *found.unread, *found.unverified]):
            self._console.warn(shown(f"unverified: {line}"))

    def tell_costs(self) -> None:
        """What was spent, on stderr; nothing if it was free."""
        if self._console.quiet or self._bill.is_free:
            return
        self._console.clear()
        echo(f"Spent: {bill_line(self._bill)}", err=True)

    def _notes(self, change: Change) -> Iterator[str]:
        if not self._bill.is_free:
            yield f"This check spent {bill_line(self._bill)}."
        if self._workflow is not None and self._workflow.fork:
            yield "a pull request from a fork has no secrets: what is not recorded is unverified"
        if change.base is not None and self._wiring.repository.is_shallow:
            yield "history is cut off here: accepted losses further back are not known"

    def _annotations(self, change: Change, judgement: Judgement) -> Iterator[str]:
        """What degraded, at the line of the prompt that changed first; what failed, at the test;
        what nobody verified."""
        from loomgit.hooks.github import annotation, notice  # noqa: PLC0415 - as above
        from loomgit.report.comparison import row  # noqa: PLC0415

        inside = self._wiring.repository.in_repository
        for found in judgement.comparison.pipelines:
            if found.outcome == "degraded":
                moved = [m for m in found.metrics if m.gated and m.outcome == "degraded"]
                said = "; ".join(f"{m.name}: {' '.join(row(m)[1:4])}" for m in moved)
                path = next(iter(changed_paths(found.inputs)), f"pipelines/{found.pipeline}.yaml")
                line = first_changed_line(self._wiring, change, path)
                yield annotation("error", inside(path), line, f"{found.pipeline} degraded", said)
        for failure in judgement.failures[:MOST_ANNOTATIONS]:
            title = f"{failure.entry.full_name} failed"
            file = inside(failure.entry.file)
            yield annotation("error", file, failure.line, title, _why(failure))
        if judgement.unmeasured is not None:
            yield notice("warning", f"Loom: not compared: {judgement.unmeasured.message}")
        for said in judgement.unread[:MOST_ANNOTATIONS]:
            yield notice("warning", f"Loom: unverified: {said}")
        for said in judgement.lost[:MOST_ANNOTATIONS]:
            yield notice("warning", f"Loom: {said}")
        for entry in judgement.unverified[:MOST_ANNOTATIONS]:
            title = f"{entry.full_name} is unverified"
            yield annotation("warning", inside(entry.file), 1, title, entry.message)


def _comment(console: Console, workflow: Workflow, text: str, project: str) -> str:
    """Write the comment; where that fails, say so and go on: the check is not the comment."""
    from loomgit.hooks.comments import Comments  # noqa: PLC0415 - as above

    if not workflow.token:
        console.warn("no comment: there is no GITHUB_TOKEN")
        return ""
    try:
        return asyncio.run(Comments(workflow, project).publish(text))
    except WorldError as error:
        console.warn(f"no comment: {error.message}")
        return ""


def _publish_foreign(console: Console, workflow: Workflow | None, file: Path) -> int:
    """Publish what a run of a fork's code wrote: nothing of it is believed, nobody is called."""
    from loomgit.hooks.comments import COMMENT_LIMIT, Comments  # noqa: PLC0415 - as above

    if workflow is None or not workflow.token:
        raise UserError(
            "--publish writes a comment, and there is no GITHUB_TOKEN",
            hint="it is for a workflow that runs after another one (docs/pull-requests.md)",
        )
    text = _read_plain(file, 4 * COMMENT_LIMIT).decode("utf-8", "replace")
    plain = _MENTION.sub("\\g<0>\u200b", text)[: COMMENT_LIMIT - ROOM - len(FOREIGN)]
    console.answer(asyncio.run(Comments(workflow).publish(FOREIGN + plain)))
    return 0


def _read_plain(path: Path, size: int) -> bytes:
    """The first bytes of a file that no link leads to: the run of a fork made it."""
    real = Path.cwd().resolve() / path
    if path.is_symlink() or (not path.is_absolute() and real.resolve() != real):
        raise UserError(f"{path} is a symbolic link, or behind one", hint="publish a plain file")
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as opened:
        return opened.read(size)


def _why(failure: Failure) -> str:
    wrong = (
        f"{check.text} (actual: {check.actual})" if check.actual else check.text
        for check in failure.result.checks
        if check.verdict != "pass"
    )
    return " ".join(failure.entry.message.split()) or "; ".join(wrong)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
