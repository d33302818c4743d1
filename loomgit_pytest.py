"""The door of Loom's pytest plugin: pytest loads it in every session, so it loads nothing itself.

It registers the marker and the fixture. Prompt tests are not run by this version.
"""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, so that suites with --strict-markers may use it."""
    config.addinivalue_line(
        "markers", "loom(pipeline): a test of a Loom pipeline's prompt, with the fixture `loom`"
    )


@pytest.fixture
def loom() -> None:
    """The project's prompts under test; skips where they are not run."""
    pytest.skip("prompt tests are not run by this version of Loom")
