"""Reads the options of a pytest session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from loomgit.harness.overrides import OptionValue
from loomgit_pytest import OPTIONS, SWITCHES

if TYPE_CHECKING:
    import pytest


def read_options(config: pytest.Config) -> dict[str, OptionValue]:
    """Return the options that are set, each with its source.

    Precedence: command line, environment variable, configuration of pytest.
    """
    options: dict[str, OptionValue] = {}
    for name in (*OPTIONS, *SWITCHES):
        key = name.replace("-", "_")
        flag, variable, entry = f"--loom-{name}", f"LOOM_{key.upper()}", f"loom_{key}"
        if (value := config.getoption(flag)) is not None:
            options[key] = OptionValue(value, flag)
        elif value := os.environ.get(variable):
            options[key] = OptionValue(value, variable)
        elif value := config.getini(entry):
            options[key] = OptionValue(value, entry)
    return options
