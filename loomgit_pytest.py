"""Entry point of Loom's pytest plugin.

pytest imports this module in every session. The module defines the options, the markers and the
fixture. It imports the rest of the plugin only if prompt tests are enabled: by `--loom`,
`LOOM_TESTS=1` or `loom = true`. PYTEST_DONT_REWRITE: `loom test` imports this module before pytest
starts. This word prevents pytest's warning about the early import.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from loomgit.pytest_plugin.fixture import LoomFixture

# Name: (metavar, help). An option can be set by `--loom-NAME`, by the environment variable
# `LOOM_NAME`, and by `loom_name` in pytest's configuration, in this order of precedence.
OPTIONS = {
    "baseline": ("REF", "Revision to compare with, or `none`"),
    "samples": ("N", "Replies per case; overrides the tests"),
    "sample-size": ("N", "Cases per distributional test; overrides the tests"),
    "model": ("M", "Model to test; overrides the tests"),
    "concurrency": ("N", "Maximum number of concurrent model calls"),
    "budget": ("USD", "Maximum cost"),
    "replay": ("off|auto|only|record", "Use or record replies in cassettes"),
    "on-inconclusive": ("point|warn|fail", "Treatment of inconclusive assertions"),
    "report": ("F.html|md|json", "Write the results to this file"),
    "target": ("NAME", "Target in .loom/config.yaml"),
    "vars": ("NAME=VALUE", "Set {{ vars.NAME }}; overrides the test files; can be repeated"),
    "execution-date": ("DATE", "Value of {{ execution_date }}; overrides the test files"),
}
SWITCHES = {
    "strict": "Also fail inconclusive and unverified tests",
    "no-store": "Do not store results or reuse stored results",
    "modified": "Run only tests that a change since the baseline affects",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, which have no effect without --loom."""
    group = parser.getgroup("loom", "prompt tests (Loom)")
    group.addoption("--loom", action="store_true", help="Collect and run prompt tests")
    for name, (metavar, help_) in OPTIONS.items():
        action = "append" if name == "vars" else "store"
        group.addoption(f"--loom-{name}", action=action, metavar=metavar, help=help_)
        parser.addini(f"loom_{name.replace('-', '_')}", help_)
    for name, help_ in SWITCHES.items():
        group.addoption(f"--loom-{name}", action="store_true", default=None, help=help_)
        parser.addini(f"loom_{name.replace('-', '_')}", help_, type="bool", default=None)
    parser.addini("loom", "Collect and run prompt tests, like --loom", type="bool")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and, if prompt tests are enabled, the plugins that run them."""
    config.addinivalue_line(
        "markers", "loom(pipeline): test of the prompt of a Loom pipeline, with the fixture `loom`"
    )
    for name, scope in (
        ("unit", "one input"),
        ("distributional", "many inputs"),
        ("integration", "a whole pipeline"),
        ("regression", "scores against a baseline"),
    ):
        config.addinivalue_line("markers", f"loom_{name}: prompt test of {scope}")
    is_enabled = os.environ.get("LOOM_TESTS", "").lower() in ("1", "true", "yes", "on")
    if is_enabled or config.getoption("--loom") or config.getini("loom"):
        from loomgit_command import find_conflict  # noqa: PLC0415 - only for prompt tests

        if conflict := find_conflict():
            raise pytest.UsageError(conflict)
        from loomgit.pytest_plugin.hooks import LoomPlugin  # noqa: PLC0415 - only for prompt tests
        from loomgit.pytest_plugin.interrupts import InterruptHooks  # noqa: PLC0415 - only for prompt tests

        config.pluginmanager.register(InterruptHooks(), "loom-interrupts")
        config.pluginmanager.register(LoomPlugin(config), "loom-tests")


@pytest.fixture
def loom(request: pytest.FixtureRequest) -> LoomFixture:
    """Run pipelines in a test: `loom.pipeline("x").run_case(input)`.

    The test is skipped if --loom is not set.
    """
    plugin = request.config.pluginmanager.get_plugin("loom-tests")
    if plugin is None:
        pytest.skip("requires --loom")
    return plugin.fixture(request.node)  # type: ignore[no-any-return]  # LoomPlugin, not imported here
