"""Entry point of Loom's pytest plugin.

pytest imports it in every session. It defines the options, the markers and the fixture, and imports
the rest only if prompt tests are enabled: by `--loom`, `LOOM_TESTS=1` or `loom = true`.
PYTEST_DONT_REWRITE: `loom test` imports this module before pytest starts; without this word, pytest
would warn about that.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from loomgit.sessions.fixture import LoomFixture

# Name: (what it takes, what it is for). Precedence: the flag `--loom-NAME`, the variable
# `LOOM_NAME`, the entry `loom_name` in pytest's configuration.
OPTIONS = {
    "baseline": ("REF", "compare with this revision; `none`: with nothing"),
    "samples": ("N", "replies to each case, whatever the tests say"),
    "sample-size": ("N", "cases of each distributional test, whatever the tests say"),
    "model": ("M", "ask this model, whatever the tests say"),
    "concurrency": ("N", "model calls in flight"),
    "budget": ("USD", "spend no more than this"),
    "replay": ("off|auto|only|record", "take model replies from cassettes"),
    "on-inconclusive": ("point|warn|fail", "what an undecided assertion does"),
    "report": ("F.html|md|json", "write the results to this file"),
}
SWITCHES = {
    "strict": "fail also what is inconclusive or unverified",
    "no-store": "neither keep results nor take earlier ones",
    "modified": "run only tests of what changed against the baseline",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; without --loom none of them does anything."""
    group = parser.getgroup("loom", "prompt tests (Loom)")
    group.addoption("--loom", action="store_true", help="collect and run prompt tests")
    for name, (takes, help_) in OPTIONS.items():
        group.addoption(f"--loom-{name}", metavar=takes, help=help_)
        parser.addini(f"loom_{name.replace('-', '_')}", help_)
    for name, help_ in SWITCHES.items():
        group.addoption(f"--loom-{name}", action="store_true", default=None, help=help_)
        parser.addini(f"loom_{name.replace('-', '_')}", help_, type="bool", default=None)
    parser.addini("loom", "collect and run prompt tests, as --loom does", type="bool")


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known; with --loom load what runs prompt tests."""
    config.addinivalue_line(
        "markers", "loom(pipeline): a test of a Loom pipeline's prompt, with the fixture `loom`"
    )
    for name, what in (
        ("unit", "one input"),
        ("distributional", "many inputs"),
        ("integration", "a whole pipeline"),
        ("regression", "scores against a baseline"),
    ):
        config.addinivalue_line("markers", f"loom_{name}: a prompt test of {what}")
    asked = os.environ.get("LOOM_TESTS", "").lower() in ("1", "true", "yes", "on")
    if asked or config.getoption("--loom") or config.getini("loom"):
        from loomgit_command import find_conflict  # noqa: PLC0415 - as below

        if conflict := find_conflict():
            raise pytest.UsageError(conflict)
        from loomgit.plugin import LoomPlugin  # noqa: PLC0415 - who has no prompt tests pays nothing
        from loomgit.sessions.interrupts import InterruptHooks  # noqa: PLC0415 - as above

        config.pluginmanager.register(InterruptHooks(), "loom-interrupts")
        config.pluginmanager.register(LoomPlugin(config), "loom-tests")


@pytest.fixture
def loom(request: pytest.FixtureRequest) -> LoomFixture:
    """The project's pipelines under test: `loom.pipeline("x").run_case(input)`; skips without
    --loom."""
    plugin = request.config.pluginmanager.get_plugin("loom-tests")
    if plugin is None:
        pytest.skip("needs --loom")
    return plugin.fixture(request.node)  # type: ignore[no-any-return]  # LoomPlugin, not imported here
