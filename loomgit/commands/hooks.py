"""`loom hooks install|uninstall|status|run`: degraded prompts do not get past a push."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loomgit.commands import last_error
from loomgit.commands.options import Common, common
from loomgit.commands.screen import echo
from loomgit.domain.bills import Bill, billed_to
from loomgit.errors import BudgetExceeded, LoomError, ProblemsFound
from loomgit.hooks.install import Hooks
from loomgit.hooks.shim import HOOKS
from loomgit.report.bill import bill_line

if TYPE_CHECKING:
    from loomgit.commands.options import Console
    from loomgit.guards.guard import Change, Guard, Judgement
    from loomgit.hooks.shim import Hook
    from loomgit.wiring.project import Wiring

OUTAGE = 2.0  # seconds until a model is given up: somebody waits for the push
SHOWN = 10  # unverified tests that are named
STOPPED = 130
SKIP = "skip with LOOM_SKIP=1 or --no-verify"
# What Git tells a hook about its own repository: nothing that an evaluator or a program of the
# user's should find, which may ask Git about another one.
ABOUT_THE_REPOSITORY = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH",
    "GIT_REFLOG_ACTION", "GIT_EDITOR",
)  # fmt: skip


@click.group("hooks")
def command() -> None:
    """Git hooks that stop degraded prompts."""


@command.command("install")
@click.option("--pre-push", is_flag=True, help="Before a push (the default).")
@click.option("--pre-commit", is_flag=True, help="Before a commit: what is staged.")
@click.option("--commit-msg", is_flag=True, help="As --pre-commit, and knows the message.")
@click.option("--strict", is_flag=True, help="Stop also what is not proven harmless.")
@common
def install(
    options: Common, pre_push: bool, pre_commit: bool, commit_msg: bool, strict: bool
) -> None:
    """Install hooks; one that is there already moves aside and still runs."""
    chosen: list[Hook] = [
        hook
        for hook, wanted in zip(HOOKS, (pre_push, pre_commit, commit_msg), strict=True)
        if wanted
    ] or ["pre-push"]
    put_hooks(options.project().wiring, chosen, options.console, strict=strict)
    options.console.document({"schema_version": 1, "installed": list(chosen)})


def put_hooks(
    wiring: Wiring, chosen: list[Hook], console: Console, *, strict: bool = False
) -> list[str]:
    """Install these hooks, and say so; returns their names. Raises UserError or WorldError."""
    from loomgit.guards.guard import Guard  # noqa: PLC0415 - status and uninstall need none of it
    from loomgit.guards.pushes import default_branches  # noqa: PLC0415
    from loomgit.scaffold.install_source import find_install_source  # noqa: PLC0415

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
        console.answer(f"{hook}: installed ({path})")
    _watch(wiring, Guard(wiring), hooks)
    return list(chosen)


def _watch(wiring: Wiring, guard: Guard, hooks: Hooks, commit: str | None = None) -> None:
    """Tell the hooks which files matter, as a commit (None: HEAD) has it."""
    seen = commit or wiring.repository.head().id
    if seen != "unborn":
        hooks.watch(seen, guard.watched(seen))


@command.command("uninstall")
@common
def uninstall(options: Common) -> None:
    """Take the hooks out and put back, byte for byte, what was there."""
    gone = Hooks(options.project().wiring.repository).uninstall()
    for path in gone:
        options.console.answer(f"{path.name}: removed ({path})")
    if not gone:
        options.console.answer("no hook of Loom's is installed")
    options.console.document({"schema_version": 1, "removed": [path.name for path in gone]})


@command.command("status")
@common
def status(options: Common) -> None:
    """Say which hooks are installed, and whether others run beside them."""
    states = Hooks(options.project().wiring.repository).states()
    for state in states:
        here = "installed" if state.installed else "not installed"
        if state.installed and state.project != ".":
            here += f" for {state.project}"
        other = {
            (True, True): ", another hook runs before it",
            (False, True): ", another hook is there",
        }.get((state.installed, state.other), "")
        options.console.answer(f"{state.hook}: {here}{other}")
    options.console.document(
        {
            "schema_version": 1,
            "hooks": [
                {
                    "hook": s.hook,
                    "installed": s.installed,
                    "other": s.other,
                    "project": s.project,
                    "path": str(s.path),
                }
                for s in states
            ],
        }
    )


@command.command("run")
@click.argument("hook", type=click.Choice(HOOKS))
@click.argument("arguments", nargs=-1)
@click.option("--strict", is_flag=True, help="Stop also what is not proven harmless.")
@common
def run(options: Common, hook: Hook, arguments: tuple[str, ...], strict: bool) -> int:
    """Do what a hook does; Git calls this through the hook's script.

    Exit codes: 0 it goes on, 1 it is stopped. A failure of Loom's own lets it go on, unless
    --strict.
    """
    console = options.console
    if os.environ.get("LOOM_SKIP") == "1":
        return 0
    deed = hook.partition("-")[2] if hook != "commit-msg" else "commit"
    try:
        return _run(options.project().wiring, console, hook, arguments, strict=strict)
    except ProblemsFound as found:
        for problem in found.problems:
            console.error(f"{problem.place}: {problem.message}", problem.hint)
        hint = f"mend what is named above, or {SKIP}"
        console.error(f"loom: what this {deed} brings cannot be tested", hint)
        return 1
    except KeyboardInterrupt:
        console.error(f"loom: stopped, and the {deed} with it", SKIP)
        return STOPPED
    except LoomError as error:
        console.error(f"loom: the prompts could not be tested: {error.message}", error.hint)
        code = error.exit_code
    except Exception as error:  # noqa: BLE001 - whatever fails here must not keep people from pushing
        kind = "" if isinstance(error, OSError) else "this is a bug in Loom: "
        said = f"{kind}{last_error.summary(error)}"
        details = last_error.keep(error, options.folder)
        console.error(f"loom: the prompts could not be tested: {said}", details)
        code = 4 if isinstance(error, OSError) else 3
    if strict:
        return code
    console.warn(f"this {deed} goes on untested")
    return 0


def _run(
    wiring: Wiring, console: Console, hook: Hook, arguments: tuple[str, ...], *, strict: bool
) -> int:
    from loomgit.guards.guard import Guard  # noqa: PLC0415 - slow, and installing needs none of it
    from loomgit.guards.pushes import Pushed, staged  # noqa: PLC0415

    began = time.perf_counter()
    repository = wiring.repository  # has taken from the variables what it needs
    for name in ABOUT_THE_REPOSITORY:
        os.environ.pop(name, None)
    bill = Bill()
    guard = Guard(
        wiring,
        strict=strict,
        budget=wiring.settings.hooks_budget,
        outage=OUTAGE,
        progress=lambda n, of: console.progress(f"loom: {n:,}/{of:,}"),
    )
    if hook == "pre-push":
        remote = arguments[0] if arguments else os.environ.get("PRE_COMMIT_REMOTE_NAME", "")
        said = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
        changes = Pushed(wiring, guard, remote or "the remote").changes(said)
    else:
        message = arguments[0] if hook == "commit-msg" and arguments else None
        text = None if message is None else _text(message)
        changes = staged(wiring, text)
    blocked = False
    for change in changes:
        with billed_to(bill):
            judgement = guard.judge(change)
        _say(console, change, judgement)
        blocked |= judgement.blocked
        if judgement.blocked:
            console.error(f"loom: {hook} stopped{_why(judgement)}", _way_out(hook))
        elif judgement.touched or judgement.unread:
            seconds = time.perf_counter() - began
            said = "passed in" if judgement.is_verified else "goes on unverified after"
            echo(f"loom: {hook} {said} {seconds:.1f} s", err=True)
    if not bill.is_free:
        echo(f"loom: spent {bill_line(bill)}", err=True)
    if changes:
        _watch(wiring, guard, Hooks(repository), changes[-1].head)
    return int(blocked)


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="surrogateescape")


def _say(console: Console, change: Change, judgement: Judgement) -> None:
    """Everything goes to stderr: that is where Git shows what hooks say."""
    from loomgit.harness.explain import explain, short  # noqa: PLC0415 - as above
    from loomgit.report.comparison import shown, table  # noqa: PLC0415

    if not judgement.touched and not judgement.unread:
        return
    console.clear()
    lines = list(table(judgement.comparison))
    for failure in judgement.failures:
        lines += ["", f"failed: {failure.entry.file}::{failure.entry.full_name}"]
        details = explain if console.verbose else short
        lines += (f"  {line}" for line in details(failure.result, failure.prompt))
    lines += (f"accepted: {line}" for line in judgement.accepted)
    for line in lines:
        echo(shown(line), err=True)
    if judgement.unmeasured is not None:
        reason = " ".join(judgement.unmeasured.message.split())
        console.warn(shown(f"unverified: {change.head_name} could not be measured: {reason}"))
    elif judgement.reason:
        console.warn(shown(f"unverified: no model answered: {judgement.reason}"))
    lacks = [*judgement.unread, *judgement.lacks(judgement.reason)]
    for line in lacks[:SHOWN]:
        console.warn(shown(f"unverified: {line}"))
    if len(lacks) > SHOWN:
        console.warn(f"unverified: {len(lacks) - SHOWN:,} more")
    for line in judgement.lost[:SHOWN]:
        console.warn(shown(line))
    if len(judgement.lost) > SHOWN:
        console.warn(f"{len(judgement.lost) - SHOWN:,} more tests and cases are gone")


def _why(judgement: Judgement) -> str:
    """What stops it, in few words."""
    worse = [p.pipeline for p in judgement.comparison.pipelines if p.outcome == "degraded"]
    failed = len(judgement.failures)
    reasons = [f"{', '.join(worse)} degraded"] if worse else []
    if isinstance(judgement.unmeasured, BudgetExceeded):
        reasons.append("the budget (hooks.budget in .loom/config.yaml) is spent")
    if failed:
        reasons.append(f"{failed} test{'s' if failed > 1 else ''} failed")
    if judgement.lost and not reasons:
        reasons.append("tests or cases are gone")
    return f": {'; '.join(reasons)}" if reasons else ""


def _way_out(hook: Hook) -> str:
    accept = ""
    if hook != "pre-commit":
        accept = "accept a loss with a trailer `Loom-Accept: <pipeline or metric>: <reason>`, or "
    return f"{accept}{SKIP}"
