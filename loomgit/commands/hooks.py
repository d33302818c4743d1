"""`loom hooks install|uninstall|status|run`: manages Git hooks that block degraded prompts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from loomgit.commands import last_error
from loomgit.commands.hook_document import hook_document
from loomgit.commands.options import (
    Common,
    common,
    execution_date_option,
    target_option,
    variables_option,
)
from loomgit.domain.variables import GivenValues
from loomgit.errors import LoomError, ProblemsFound, UnknownTarget
from loomgit.hooks.install import Hooks
from loomgit.hooks.shim import HOOKS, SKIP_HINT

if TYPE_CHECKING:
    from datetime import datetime

    from loomgit.hooks.shim import Hook

INTERRUPTED = 130


@click.group("hooks")
def command() -> None:
    """Manage Git hooks that block degraded prompts."""


@command.command("install")
@click.option("--pre-push", is_flag=True, help="Check pushes. This is the default.")
@click.option("--pre-commit", is_flag=True, help="Check the staged files before a commit.")
@click.option("--commit-msg", is_flag=True, help="Check staged files, and read the commit message.")
@click.option("--strict", is_flag=True, help="Also block changes that are not proven harmless.")
@common
def install(
    options: Common, pre_push: bool, pre_commit: bool, commit_msg: bool, strict: bool
) -> None:
    """Install hooks. An existing hook is renamed and still runs."""
    chosen: list[Hook] = [
        hook
        for hook, wanted in zip(HOOKS, (pre_push, pre_commit, commit_msg), strict=True)
        if wanted
    ] or ["pre-push"]
    from loomgit.commands.hook_runs import install_hooks  # noqa: PLC0415 - keeps `--help` fast

    install_hooks(options.project().wiring, chosen, options.console, strict=strict)
    options.console.document({"schema_version": 1, "installed": list(chosen)})


@command.command("uninstall")
@common
def uninstall(options: Common) -> None:
    """Remove the hooks and restore renamed hooks."""
    removed = Hooks(options.project().wiring.repository).uninstall()
    for path in removed:
        options.console.print(f"{path.name}: removed ({path})")
    if not removed:
        options.console.print("no Loom hook is installed")
    options.console.document({"schema_version": 1, "removed": [path.name for path in removed]})


@command.command("status")
@common
def status(options: Common) -> None:
    """Show which of Loom's hooks are installed, and whether hooks of other programs exist."""
    states = Hooks(options.project().wiring.repository).states()
    for state in states:
        status_text = "installed" if state.installed else "not installed"
        if state.installed and state.project != ".":
            status_text += f" for {state.project}"
        other = {
            (True, True): ", another hook runs before it",
            (False, True): ", another hook exists",
        }.get((state.installed, state.other), "")
        options.console.answer(f"{state.hook}: {status_text}{other}")
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
@click.option("--strict", is_flag=True, help="Also block changes that are not proven harmless.")
@variables_option("Set {{ vars.NAME }} in both revisions. Can be repeated.")
@execution_date_option
@target_option()
@common
def run(
    options: Common,
    hook: Hook,
    arguments: tuple[str, ...],
    strict: bool,
    variables: dict[str, str],
    execution_date: datetime | None,
    target: str | None,
) -> int:
    """Run a hook. Git calls this command through the hook script.

    Exit codes: 0 Git continues, 1 blocked, 2 unknown target, 130 interrupted. If Loom itself fails,
    the exit code is 0 without --strict, and 2, 3 or 4 with --strict.
    """
    console = options.console
    if os.environ.get("LOOM_SKIP") == "1":
        console.document(hook_document(hook, error="LOOM_SKIP=1 is set"))
        return 0
    action = "commit" if hook == "commit-msg" else hook.partition("-")[2]
    try:
        from loomgit.commands.hook_runs import run_hook  # noqa: PLC0415 - keeps `status` fast

        given = GivenValues(variables, execution_date)
        wiring = options.project(target=target, given=given).wiring
        return run_hook(wiring, console, hook, arguments, strict=strict)
    except UnknownTarget:
        raise
    except ProblemsFound as error:
        for problem in error.problems:
            console.error(f"{problem.place}: {problem.message}", problem.hint)
        hint = f"fix the files above, or {SKIP_HINT}"
        console.error(f"loom: the changes of this {action} cannot be tested", hint)
        console.document(hook_document(hook, blocked=True, error=error.message))
        return 1
    except KeyboardInterrupt:
        console.error(f"loom: the {action} is interrupted", SKIP_HINT)
        console.document(hook_document(hook, blocked=True, error="interrupted"))
        return INTERRUPTED
    except LoomError as error:
        console.error(f"loom: the prompts could not be tested: {error.message}", error.hint)
        reason, code = error.message, error.exit_code
    except Exception as error:  # noqa: BLE001 - a failure of Loom must not block a push
        kind = "" if isinstance(error, OSError) else "this is a bug in Loom: "
        reason = f"{kind}{last_error.render_summary(error)}"
        details = last_error.save(error, options.folder)
        console.error(f"loom: the prompts could not be tested: {reason}", details)
        code = 4 if isinstance(error, OSError) else 3
    console.document(hook_document(hook, blocked=strict, error=reason))
    if strict:
        return code
    console.warn(f"this {action} continues untested")
    return 0
