"""Importing the model libraries without what they do at import: downloads, `.env`, warnings.

litellm is behind two doors (its own lane, and Arbiter, which imports it), so this is shared.
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
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no download of prices
    "LITELLM_MODE": "PRODUCTION",  # no reading of .env
    "PYTHON_DOTENV_DISABLED": "1",
}
_FROM_THEN_ON = {
    # They make pydantic models late, and a plugin (logfire comes with Arbiter) costs a second then.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER": "true",  # litellm: a quarter less CPU for a call
}
_one_at_a_time = threading.Lock()  # the environment is everybody's
_one_silence = threading.Lock()  # and so is `warnings.warn`


@contextmanager
def unwarned() -> Iterator[None]:
    """Drop what this thread warns of, and nobody else's warnings.

    A filter would not do: filters are the whole process's, and pytest puts its own in their place
    whenever a test begins or ends, which it does while a thread imports for seconds.
    """
    with _one_silence:
        silent: int | None = threading.get_ident()
        warn = warnings.warn

        def warn_elsewhere(
            message: str | Warning,
            category: type[Warning] | None = None,
            stacklevel: int = 1,
            source: object = None,
            **since_3_12: tuple[str, ...],  # skip_file_prefixes
        ) -> None:
            if threading.get_ident() != silent:
                warn(message, category, stacklevel + 1, source, **since_3_12)

        warnings.warn = warn_elsewhere
        try:
            yield
        finally:
            warnings.warn = warn
            silent = None  # a module that was imported meanwhile may have kept the function


def import_quietly(name: str, loggers: Sequence[str] = ()) -> ModuleType:
    """Import a model library; blocks for seconds the first time.

    Its `loggers` are silenced: what fails is raised, and reported once. What it warns of while it
    is imported is dropped: nobody here can mend it.
    """
    with _one_at_a_time:
        before = {variable: os.environ.get(variable) for variable in _DURING_IMPORT}
        os.environ.update(_DURING_IMPORT)
        for variable, value in _FROM_THEN_ON.items():
            os.environ.setdefault(variable, value)
        try:
            with unwarned():
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
