"""Finds the files that a worker's interpreter needs, on this machine and for this Python."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

import loomgit
from loomgit.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Iterable

# Folders with the libraries of the system, the index of these libraries, and the time zones.
_SYSTEM_PATHS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache",
                 "/usr/share/zoneinfo")  # fmt: skip
_NIX_STORE = "/nix/store"  # on Nix, each library is in a folder of its own below this one


class Interpreter(Struct, frozen=True):
    """The Python that runs workers.

    `readable_paths` are the files and folders that it can read at any time, `library_paths` are the
    folders of installed packages, and `own_paths` are the files of Loom that it reads at its start.
    `package_root` is the folder that contains the package `loomgit`.
    """

    executable: str
    readable_paths: tuple[str, ...]
    library_paths: tuple[str, ...]
    own_paths: tuple[str, ...]
    package_root: str


@cache
def find_interpreter() -> Interpreter:
    """Return the interpreter of this process, without its virtual environment's start-up code.

    Raises WorldError if this process does not know its interpreter.
    """
    name = getattr(sys, "_base_executable", None) or sys.executable
    if not name:
        raise WorldError("programs cannot run: this Python does not know its own executable")
    executable = os.path.realpath(name)
    paths = sysconfig.get_paths()
    libraries = [paths["purelib"], paths["platlib"], *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        libraries.append(site.getusersitepackages())
    library_paths = _existing(libraries)
    standard = [paths["stdlib"], sysconfig.get_path("platstdlib", vars=_base_variables())]
    folder = sysconfig.get_config_var("LIBDIR")
    readable = [executable, *standard, *library_paths, *([folder] if folder else []),
                *_SYSTEM_PATHS]  # fmt: skip
    if executable.startswith(_NIX_STORE):
        readable.append(_NIX_STORE)
    package = Path(loomgit.__file__).parent
    return Interpreter(
        executable=executable,
        readable_paths=outermost(_existing(readable)),
        library_paths=library_paths,
        own_paths=(str(package / "__init__.py"), str(package / "sandbox")),
        package_root=str(package.parent),
    )


def _base_variables() -> dict[str, str]:
    return {"platbase": sys.base_exec_prefix, "installed_platbase": sys.base_exec_prefix}


def _existing(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the real paths of the paths that this process can read, without duplicates."""
    real = dict.fromkeys(os.path.realpath(path) for path in paths if os.access(path, os.R_OK))
    return tuple(real)


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths in order, without the paths that are below another one."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{folder.rstrip('/')}/") for folder in kept):
            kept.append(path)
    return tuple(kept)
