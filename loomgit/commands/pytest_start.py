"""Starts pytest for `loom test`, even if pytest's set-up in the project cannot be used.

That set-up is usually for the project's Python tests. Where only Loom is installed, a conftest.py
may import a package that is missing, and `addopts` may name options of a missing plugin.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, cast

import pytest
from msgspec import Struct

from loomgit.errors import UserError
from loomgit_pytest import OPTIONS

NO_CONFTEST = "--noconftest"
ADDOPTS = "--override-ini=required_plugins="
# At the second start, pytest would warn that the plugins are already imported.
QUIET = "-Wignore:Module already imported:pytest.PytestAssertRewriteWarning"

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence


def run_pytest(
    arguments: Sequence[str],
    plugin: object,
    *,
    strict: bool,
    warn: Callable[[str], None],
) -> int:
    """Run pytest with a plugin in this process; returns pytest's exit code.

    If pytest cannot import a conftest.py, it starts again with `--noconftest`. If pytest rejects
    its configuration, it starts again without `addopts` and `required_plugins`; Loom's own options
    in `addopts` still apply. `warn` is called with the reason.

    Raises UserError if pytest still cannot start, if `addopts` sets options of Loom in a form that
    cannot be kept, and with `strict` at the first failure.
    """
    extra: list[str] = []
    warnings: list[str] = []
    while True:
        try:
            return int(pytest.main([*arguments, *extra], plugins=[plugin, _Start(warnings, warn)]))
        except _CannotStartError as error:
            options = error.options
            if error.is_conftest or ADDOPTS in extra:
                left_out, more = "conftest.py", [NO_CONFTEST]
            else:
                kept = f"--override-ini=addopts={shlex.join(options.kept)}"
                left_out, more = "pytest's addopts", [ADDOPTS, kept]
            if more[0] in extra or (more[0] == ADDOPTS and options.lost):
                raise UserError(f"pytest cannot start: {error}") from error
            if strict:
                hint = f"without --strict, the prompt tests run without {left_out}"
                raise UserError(f"pytest cannot start: {error}", hint=hint) from error
            warnings.append(f"the prompt tests run without {left_out}: {error}")
            extra += [*more, QUIET]


class _AddOpts(Struct):
    """Options of Loom in `addopts`: those that can be kept, and those that would be lost."""

    kept: list[str]
    lost: list[str]


class _CannotStartError(Exception):
    """pytest could not be configured; the message is one line."""

    def __init__(self, cause: BaseException, options: _AddOpts) -> None:
        _, _, usage = str(cause).partition(": error: ")
        super().__init__(" ".join((usage or str(cause) or type(cause).__name__).split()))
        self.options = options
        # ConftestImportFailure, which is not part of pytest's public API
        self.is_conftest = getattr(getattr(cause, "path", None), "name", "") == "conftest.py"


class _Start:
    """A pytest plugin that raises _CannotStartError for all that stops pytest's configuration.

    Once pytest is configured, it gives the warnings.
    """

    def __init__(self, warnings: Sequence[str], warn: Callable[[str], None]) -> None:
        self._warnings = warnings
        self._warn = warn

    def pytest_configure(self) -> None:
        """Give the warnings."""
        for text in self._warnings:
            self._warn(text)

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_parse(
        self, pluginmanager: pytest.PytestPluginManager
    ) -> Generator[None, pytest.Config | None, pytest.Config | None]:
        """Configure pytest."""
        try:
            return (yield)
        except (Exception, pytest.skip.Exception, pytest.exit.Exception, SystemExit) as error:
            config = cast(pytest.Config, pluginmanager.get_plugin("pytestconfig"))
            raise _CannotStartError(error, _read_addopts(config)) from error


def _read_addopts(config: pytest.Config) -> _AddOpts:
    """What of `addopts` is for Loom."""
    try:
        words = config.getini("addopts")
    except (AttributeError, KeyError, ValueError):  # the configuration file is broken
        return _AddOpts([], [])
    kept: list[str] = []
    lost: list[str] = []
    is_value = False
    for word in words:
        if is_value or word.startswith("--loom"):
            kept.append(word)
        elif "loom" in word or word.startswith("@"):  # `-o loom_strict=true`, a file of options
            lost.append(word)
        is_value = word.startswith("--loom-") and word.removeprefix("--loom-") in OPTIONS
    return _AddOpts(kept, lost)
