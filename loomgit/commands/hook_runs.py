"""Installs and runs the Git hooks of `loom hooks`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from loomgit.commands.hook_document import hook_document
from loomgit.commands.screen import echo
from loomgit.commands.verdict_document import verdict_document
from loomgit.domain.bills import Bill, billed_to
from loomgit.errors import BudgetExceeded
from loomgit.harness.explain import explain, explain_briefly
from loomgit.hooks.install import Hooks
from loomgit.hooks.shim import SKIP_HINT
from loomgit.report.bill import bill_line
from loomgit.report.comparison import escape_control_characters, table
from loomgit.scaffold.install_source import find_install_source
from loomgit.workflows.guard.guard import Guard
from loomgit.workflows.guard.pushes import PushChanges, default_branches, staged_changes

if TYPE_CHECKING:
    from loomgit.commands.options import Console
    from loomgit.domain.values import JsonObject
    from loomgit.hooks.shim import Hook
    from loomgit.wiring.project import Wiring
    from loomgit.workflows.guard.guard import GuardedChange, GuardVerdict

# Loom stops calling a model that has been unavailable for this long. The time is short, because
# a person waits for the hook.
OUTAGE_SECONDS = 2.0
MAX_LINES = 10  # print at most this many unverified tests, and this many removed tests and cases
# Git sets these variables for hooks. The user's evaluators and programs must not inherit them:
# if such a program ran Git in another repository, Git would use this repository instead.
GIT_VARIABLES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH",
    "GIT_REFLOG_ACTION", "GIT_EDITOR",
)  # fmt: skip


def install_hooks(
    wiring: Wiring, chosen: list[Hook], console: Console, *, strict: bool = False
) -> list[str]:
    """Install hooks, print their paths and return their names. Raises UserError or WorldError."""
    hooks = Hooks(wiring.repository)
    for hook in chosen:
        path = hooks.install(
            hook,
            python=sys.executable,
            project=wiring.repository.in_repository("."),
            branches=default_branches(wiring),
            strict=strict,
            reinstall=find_install_source().command,
        )
        console.print(f"{hook}: installed ({path})")
    _watch(wiring, Guard(wiring), hooks)
    return list(chosen)


def _watch(wiring: Wiring, guard: Guard, hooks: Hooks, commit: str | None = None) -> None:
    """Write the list of the files at `commit` (default: HEAD) that the hooks watch."""
    revision = commit or wiring.repository.head().id
    if revision != "unborn":
        hooks.watch(revision, guard.watched(revision))


def run_hook(
    wiring: Wiring, console: Console, hook: Hook, arguments: tuple[str, ...], *, strict: bool
) -> int:
    """Run a hook; return 1 if it blocks the commit or the push, else 0. Raises LoomError."""
    began = time.perf_counter()
    repository = wiring.repository  # needs GIT_VARIABLES, which the next lines remove
    for name in GIT_VARIABLES:
        os.environ.pop(name, None)
    bill = Bill()
    guard = Guard(
        wiring,
        strict=strict,
        budget=wiring.settings.hooks_budget,
        outage=OUTAGE_SECONDS,
        progress=lambda n, of: console.progress(f"loom: {n:,}/{of:,}"),
    )
    if hook == "pre-push":
        remote = arguments[0] if arguments else os.environ.get("PRE_COMMIT_REMOTE_NAME", "")
        updates = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
        changes = PushChanges(wiring, guard, remote or "the remote").changes(updates)
    else:
        message = arguments[0] if hook == "commit-msg" and arguments else None
        text = None if message is None else _read_message(message)
        changes = staged_changes(wiring, text)
    blocked = False
    documents: list[JsonObject] = []
    for change in changes:
        with console.only_document(), billed_to(bill):
            verdict = guard.judge(change)
        documents.append(verdict_document(verdict))
        _print_verdict(console, change, verdict)
        blocked |= verdict.blocked
        if verdict.blocked:
            console.error(f"loom: {hook} blocked{_block_reason(verdict)}", _block_hint(hook))
        elif (verdict.touched or verdict.unread) and not console.quiet:
            seconds = time.perf_counter() - began
            state = "passed in" if verdict.is_verified else "continues unverified after"
            echo(f"loom: {hook} {state} {seconds:.1f} s", err=True)
    if not bill.is_free and not console.quiet:
        echo(f"loom: spent {bill_line(bill)}", err=True)
    if changes:
        _watch(wiring, guard, Hooks(repository), changes[-1].head)
    console.document(hook_document(hook, blocked=blocked, changes=documents, bill=bill))
    return int(blocked)


def _read_message(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="surrogateescape")


def _print_verdict(console: Console, change: GuardedChange, verdict: GuardVerdict) -> None:
    """Print the verdict to stderr, because Git shows the stderr of hooks."""
    if not verdict.touched and not verdict.unread:
        return
    console.clear()
    hidden = console.quiet and not verdict.blocked
    lines = [] if hidden else list(table(verdict.comparison))
    for failure in verdict.failures:
        lines += ["", f"failed: {failure.outcome.file}::{failure.outcome.full_name}"]
        details = explain if console.verbose else explain_briefly
        lines += (f"  {line}" for line in details(failure.result, failure.prompt))
    lines += [] if hidden else (f"accepted: {line}" for line in verdict.accepted)
    for line in lines:
        echo(escape_control_characters(line), err=True)
    if verdict.unmeasured is not None:
        reason = " ".join(verdict.unmeasured.message.split())
        console.warn(
            escape_control_characters(
                f"unverified: {change.head_name} could not be measured: {reason}"
            )
        )
    elif verdict.reason:
        console.warn(escape_control_characters(f"unverified: no model answered: {verdict.reason}"))
    lines = [*verdict.unread, *verdict.unverified_lines(verdict.reason)]
    for line in lines[:MAX_LINES]:
        console.warn(escape_control_characters(f"unverified: {line}"))
    if len(lines) > MAX_LINES:
        console.warn(f"unverified: {len(lines) - MAX_LINES:,} more")
    for line in verdict.lost[:MAX_LINES]:
        console.warn(escape_control_characters(line))
    if len(verdict.lost) > MAX_LINES:
        console.warn(f"{len(verdict.lost) - MAX_LINES:,} more tests and cases are removed")


def _block_reason(verdict: GuardVerdict) -> str:
    """Return the reason why the hook blocks, as the end of a message, such as `: 1 test failed`."""
    worse = [p.title for p in verdict.comparison.pipelines if p.outcome == "degraded"]
    failed = len(verdict.failures)
    reasons = [f"{', '.join(worse)} degraded"] if worse else []
    if isinstance(verdict.unmeasured, BudgetExceeded):
        reasons.append("the budget (hooks.budget in .loom/config.yaml) is spent")
    if failed:
        reasons.append(f"{failed} test{'s' if failed > 1 else ''} failed")
    if verdict.lost and not reasons:
        reasons.append("tests or cases are removed")
    return f": {'; '.join(reasons)}" if reasons else ""


def _block_hint(hook: Hook) -> str:
    accept = ""
    if hook != "pre-commit":
        accept = "accept a loss with a trailer `Loom-Accept: <pipeline or metric>: <reason>`, or "
    return f"{accept}{SKIP_HINT}"
