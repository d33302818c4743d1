"""Settings of the whole suite."""

import os
import sys

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Return two workers per core: the tests spend half of their time waiting for processes."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def forget_modules_of_projects(tmp_path_factory):
    """Remove the modules that a test imported from its project: another project may have a module
    with the same name."""
    before = set(sys.modules)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    for name in sys.modules.keys() - before:
        file = getattr(sys.modules[name], "__dict__", {}).get("__file__")
        if file and str(file).startswith(folder):
            del sys.modules[name]
