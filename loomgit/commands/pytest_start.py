"""Starts pytest for `loom test`, even if the project's pytest configuration is unusable.

That configuration is usually for the project's own Python tests. If the environment contains only
Loom, a conftest.py may import a missing package, and `addopts` may contain options of a missing
plugin.
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
# Suppresses a warning: when pytest starts again in this process, its plugins are already imported.
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
    """Run pytest with a plugin in this process; return pytest's exit code.

    If pytest cannot import a conftest.py, Loom starts pytest again with `--noconftest`. If pytest
    rejects its configuration, Loom starts pytest again without `required_plugins`. From `addopts`,
    Loom then keeps only its own options. `warn` is called with the reason for each new start.

    Raises UserError if pytest still cannot start, or if `addopts` contains an option of Loom that
    Loom cannot keep. If `strict` is true, raises UserError at the first failure.
    """
    extra: list[str] = []
    warnings: list[str] = []
    while True:
        try:
            return int(
                pytest.main([*arguments, *extra], plugins=[plugin, _StartPlugin(warnings, warn)])
            )
        except _CannotStartError as error:
            options = error.options
            if error.is_conftest or ADDOPTS in extra:
                omitted, more = "conftest.py", [NO_CONFTEST]
            else:
                kept = f"--override-ini=addopts={shlex.join(options.kept)}"
                omitted, more = "pytest's addopts", [ADDOPTS, kept]
            if more[0] in extra or (more[0] == ADDOPTS and options.lost):
                raise UserError(f"pytest cannot start: {error}") from error
            if strict:
                hint = f"remove --strict to run the prompt tests without {omitted}"
                raise UserError(f"pytest cannot start: {error}", hint=hint) from error
            warnings.append(f"the prompt tests run without {omitted}: {error}")
            extra += [*more, QUIET]


class _AddOpts(Struct):
    """Loom's options in `addopts`.

    Loom can pass the options in `kept` when it starts pytest again, but not those in `lost`.
    """

    kept: list[str]
    lost: list[str]


class _CannotStartError(Exception):
    """pytest cannot be configured. The message is one line."""

    def __init__(self, cause: BaseException, options: _AddOpts) -> None:
        _, _, usage = str(cause).partition(": error: ")
        super().__init__(" ".join((usage or str(cause) or type(cause).__name__).split()))
        self.options = options
        # If the attribute `path` of the error is a conftest.py, the error is a
        # ConftestImportFailure. This class is not in pytest's public API.
        self.is_conftest = getattr(getattr(cause, "path", None), "name", "") == "conftest.py"


class _StartPlugin:
    """A pytest plugin that raises _CannotStartError if pytest cannot be configured.

    If pytest can be configured, the plugin calls `warn` with each of the `warnings`.
    """

    def __init__(self, warnings: Sequence[str], warn: Callable[[str], None]) -> None:
        self._warnings = warnings
        self._warn = warn

    def pytest_configure(self) -> None:
        """Emit the warnings."""
        for text in self._warnings:
            self._warn(text)

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_parse(
        self, pluginmanager: pytest.PytestPluginManager
    ) -> Generator[None, pytest.Config | None, pytest.Config | None]:
        """Convert an error in the configuration to _CannotStartError."""
        try:
            return (yield)
        except (Exception, pytest.skip.Exception, pytest.exit.Exception, SystemExit) as error:
            config = cast("pytest.Config", pluginmanager.get_plugin("pytestconfig"))
            raise _CannotStartError(error, _read_addopts(config)) from error


def _read_addopts(config: pytest.Config) -> _AddOpts:
    """Return Loom's options in `addopts`."""
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
        elif "loom" in word or word.startswith("@"):  # such as `-o loom_strict=true` or `@FILE`
            lost.append(word)
        is_value = word.startswith("--loom-") and word.removeprefix("--loom-") in OPTIONS
    return _AddOpts(kept, lost)
