"""Imports the model libraries without their side effects: downloads, `.env`, warnings.

Two adapters use this module: the adapter that calls litellm, and the adapter for Arbiter, which
imports litellm.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

_DURING_IMPORT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # prevents the download of prices
    "LITELLM_MODE": "PRODUCTION",  # prevents litellm from reading .env
    "PYTHON_DOTENV_DISABLED": "1",
}
_PERMANENT = {
    # Arbiter installs the pydantic plugin logfire. With this plugin, building the libraries' models
    # would take a second. The variable stays set, because models are also built after the import.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER": "true",  # litellm: 25 % less CPU time per call
}
_import_lock = threading.Lock()  # all threads share the environment variables
_warn_lock = threading.Lock()  # all threads share `warnings.warn`


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Suppress the warnings of the current thread. Warnings of other threads are not affected.

    A warning filter is not sufficient. Filters apply to the whole process, and pytest replaces them
    when a test begins or ends. An import takes seconds, so a test can begin or end in another
    thread during the import.
    """
    with _warn_lock:
        silenced_thread: int | None = threading.get_ident()
        warn = warnings.warn

        def warn_elsewhere(
            message: str | Warning,
            category: type[Warning] | None = None,
            stacklevel: int = 1,
            source: object = None,
            **since_3_12: tuple[str, ...],  # Python 3.12 added `skip_file_prefixes`
        ) -> None:
            if threading.get_ident() != silenced_thread:
                warn(message, category, stacklevel + 1, source, **since_3_12)

        warnings.warn = warn_elsewhere
        try:
            yield
        finally:
            warnings.warn = warn
            # An imported module may still call `warn_elsewhere`. From now on, this function
            # suppresses no warnings.
            silenced_thread = None


def import_quietly(name: str, loggers: Sequence[str] = ()) -> ModuleType:
    """Import a model library. The first import takes seconds.

    The library's `loggers` are silenced, because Loom itself reports each failure once. Warnings
    during the import are suppressed, because the user cannot fix their cause.
    """
    with _import_lock:
        before = {variable: os.environ.get(variable) for variable in _DURING_IMPORT}
        os.environ.update(_DURING_IMPORT)
        for variable, value in _PERMANENT.items():
            os.environ.setdefault(variable, value)
        try:
            with suppress_warnings():
                module = importlib.import_module(name)
        finally:
            for variable, old in before.items():
                if old is None:
                    os.environ.pop(variable, None)
                else:
                    os.environ[variable] = old
        for logger in loggers:
            logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
        return module
