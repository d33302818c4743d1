"""Translates the paths of mounts where there are no mounts. Runs in the worker.

Without a mount namespace, the path of a mount (for example `/loopai-data/shared/artifacts/a.pkl`)
does not exist. The functions of Python that take a path then get the path of the file on this
machine. This is a convenience, not a restriction: Landlock restricts the files. Code in C that
opens a path itself finds no file at the path of a mount.
"""

from __future__ import annotations

import builtins
import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_TRANSLATED = (
    (io, "open"),
    (builtins, "open"),
    (io, "open_code"),
    (os, "open"),
    (os, "stat"),
    (os, "lstat"),
    (os, "access"),
    (os, "listdir"),
    (os, "scandir"),
    (os, "readlink"),
)


def translate_mounts(mounts: Mapping[str, str]) -> None:
    """Let the functions of Python find the mounts.

    The keys are absolute paths without a `/` at the end, the values are paths on this machine.
    """
    if not mounts:
        return
    replacements: dict[Callable[..., Any], Callable[..., Any]] = {}  # builtins.open is io.open
    for module, name in _TRANSLATED:
        function = getattr(module, name)
        if function not in replacements:
            replacements[function] = _translating(function, mounts)
            replacements[function].__module__ = module.__name__
        setattr(module, name, replacements[function])


def _translating(function: Callable[..., Any], mounts: Mapping[str, str]) -> Callable[..., Any]:
    def call(*arguments: object, **options: object) -> Any:  # noqa: ANN401 - like the function
        if arguments:
            return function(_translate(arguments[0], mounts), *arguments[1:], **options)
        for name in ("file", "path"):
            if name in options:
                options[name] = _translate(options[name], mounts)
        return function(**options)

    call.__name__ = call.__qualname__ = function.__name__  # so that it can be pickled
    return call


def _translate(path: object, mounts: Mapping[str, str]) -> object:
    """Return the path on this machine if the path is below a mount, else the path unchanged."""
    if isinstance(path, int) or path is None:
        return path
    text = os.fsdecode(path)  # type: ignore[arg-type]  # a wrong type raises TypeError, as open does
    text = os.path.normpath(text)
    for mount, source in mounts.items():
        if text == mount:
            return source
        if text.startswith(mount + "/"):
            return source + text[len(mount) :]
    return path
