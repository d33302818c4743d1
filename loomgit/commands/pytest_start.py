"""Starts pytest for `loom test`, even if pytest's set-up in the project cannot be used.

That set-up is usually for the project's Python tests. Where only Loom is installed, a conftest.py
may import a package that is missing, and `addopts` may name options of a missing plugin.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, cast

import pytest

from loomgit.errors import UserError
from loomgit_pytest import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

WITHOUT_CONFTEST = "--noconftest"
WITHOUT_PLUGINS = ("-o", "required_plugins=", "-o")


def run_pytest(
    arguments: Sequence[str],
    plugin: object,
    *,
    strict: bool,
    warn: Callable[[str], None],
) -> int:
    """Run pytest with a plugin in this process; returns pytest's exit code.

    If a conftest.py cannot be imported, or pytest rejects its configuration, pytest starts again
    without it, and `warn` gets the reason. Loom's own options in `addopts` still apply.

    Raises UserError if pytest cannot start, with `strict` also if it could start without that.
    """
    extra: list[str] = []
    warnings: list[str] = []
    while True:
        try:
            return int(pytest.main([*arguments, *extra], plugins=[plugin, _Start(warnings, warn)]))
        except _CannotStartError as error:
            if error.is_conftest:
                left_out, more = "conftest.py", [WITHOUT_CONFTEST]
            else:
                kept = shlex.join(error.loom_options)
                left_out, more = "pytest's addopts", [*WITHOUT_PLUGINS, f"addopts={kept}"]
            if more[0] in extra:
                raise UserError(f"pytest cannot start: {error}") from error
            if strict:
                hint = f"without --strict, the prompt tests run without {left_out}"
                raise UserError(f"pytest cannot start: {error}", hint=hint) from error
            warnings.append(f"the prompt tests run without {left_out}: {error}")
            extra += more


class _CannotStartError(Exception):
    """pytest could not be configured; the message is one line."""

    def __init__(self, cause: Exception, loom_options: list[str]) -> None:
        _, _, usage = str(cause).partition(": error: ")
        super().__init__(" ".join((usage or str(cause) or type(cause).__name__).split()))
        self.loom_options = loom_options
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
        except Exception as error:
            config = cast(pytest.Config, pluginmanager.get_plugin("pytestconfig"))
            raise _CannotStartError(error, _loom_options(config)) from error


def _loom_options(config: pytest.Config) -> list[str]:
    """Loom's own options in `addopts`, with their values."""
    try:
        words = config.getini("addopts")
    except (AttributeError, KeyError, ValueError):  # the configuration file is broken
        return []
    kept: list[str] = []
    is_value = False
    for word in words:
        if is_value or word.startswith("--loom"):
            kept.append(word)
        is_value = word.removeprefix("--loom-") in OPTIONS
    return kept
