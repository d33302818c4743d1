"""What a pytest session was told, on the command line and elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from loomgit.harness.choices import Given
from loomgit_pytest import OPTIONS, SWITCHES

if TYPE_CHECKING:
    import pytest


def given(config: pytest.Config) -> dict[str, Given]:
    """The options that somebody set: the flag, else the variable, else the configuration."""
    found: dict[str, Given] = {}
    for name in (*OPTIONS, *SWITCHES):
        key = name.replace("-", "_")
        flag, variable, entry = f"--loom-{name}", f"LOOM_{key.upper()}", f"loom_{key}"
        if (value := config.getoption(flag)) is not None:
            found[key] = Given(value, flag)
        elif value := os.environ.get(variable):
            found[key] = Given(value, variable)
        elif value := config.getini(entry):
            found[key] = Given(value, entry)
    return found
