"""Describes the failures of a program in one line. Runs in the worker."""

from __future__ import annotations

import signal

WROTE_PIPE = "the program wrote to the pipe of its worker"
CLOSED_PIPE = "the program closed the pipe of its worker"
_LONGEST = 500


def describe_crash(error: BaseException, artifact: str) -> bytes:
    """Return an exception as `program.py:12: KeyError: 'text'`.

    The place is the last line in the artifact that was running. The text comes from the program, so
    it can contain anything, but its length is limited.
    """
    try:
        kind = type.__dict__["__name__"].__get__(type(error))
        place, message = _find_place(error, f"{artifact}/"), _message(error)
        text = f"{place}{kind}: {message}" if message else f"{place}{kind}"
        return text[:_LONGEST].encode("utf-8", "backslashreplace")
    except BaseException:  # noqa: BLE001 - the methods of the exception belong to the program
        return b"an exception that has no description"


def describe_exit(code: int) -> str:
    """Describe the end of a program's process; `code` is negative if a signal ended it."""
    if code >= 0:
        return f"the program ended its process with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the program crashed ({name})"


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):  # its text repeats the file and the line
        return str(error.msg)[:_LONGEST]
    return str(error)[:_LONGEST]


def _find_place(error: BaseException, folder: str) -> str:
    """Return the file and the line, or an empty text if no line of the artifact was running."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(folder):
            place = f"{file[len(folder) :]}:{trace.tb_lineno}: "
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and (error.filename or "").startswith(folder):
        place = f"{str(error.filename)[len(folder) :]}:{error.lineno}: "
    return place
