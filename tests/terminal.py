"""Runs a command whose stdout, stderr or both are a terminal: a pseudo terminal."""

import contextlib
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from pathlib import Path

from tests import processes

ROOT = Path(__file__).parents[1]
COLOR = re.compile(r"\x1b\[[\d;]*m")
ERASE = "\r\x1b[K"
OFF = ("NO_COLOR", "LOOM_NO_COLOR", "FORCE_COLOR", "PY_COLORS", "LOOM_QUIET", "LOOM_JSON", "CI")


class Shown:
    """What a command printed. `screen` is what the terminal received."""

    def __init__(self, returncode, screen, stdout, stderr):
        self.returncode = returncode
        self.screen = screen
        self.stdout = stdout
        self.stderr = stderr

    @property
    def text(self):
        """The text on the screen, without colors and progress lines."""
        return remaining(COLOR.sub("", self.screen))

    @property
    def progress(self):
        """All progress lines, in order."""
        parts = COLOR.sub("", self.screen).split(ERASE)[1:]
        return [part for part in parts if part and "\n" not in part]


def remaining(screen):
    """The text that remains on a screen after the erased lines."""
    lines = screen.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition(ERASE)[2] for line in lines)


def run(folder, *arguments, module="loomgit", stdout=True, stderr=True, columns=100, **variables):
    """Run `python -m module` in a folder. `stdout` and `stderr` say whether each is a terminal."""
    with _terminal(columns) as (file, received), _files() as (out, error):
        streams = [file if stdout else out, file if stderr else error]
        environment = _environment(variables)
        code = processes.run_on(streams, module, *arguments, cwd=folder, env=environment)
        texts = [stream.seek(0) or stream.read().decode() for stream in (out, error)]
    return Shown(code, b"".join(received).decode(), *texts)


def interrupt(folder, *arguments, wait):
    """Run `loom` on a terminal, call `wait`, and send SIGINT to the process."""
    with (
        _terminal(columns=100) as (file, received),
        subprocess.Popen(
            [sys.executable, "-m", "loomgit", *arguments],
            cwd=folder,
            env=_environment({"PYTHONPATH": str(ROOT)}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        ) as process,
    ):
        wait()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
    return Shown(process.returncode, b"".join(received).decode(), "", "")


def _environment(variables):
    inherited = {name: value for name, value in os.environ.items() if name not in OFF}
    return {**inherited, "TERM": "xterm", **variables}


@contextlib.contextmanager
def _files():
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        yield out, error


@contextlib.contextmanager
def _terminal(columns):
    """A terminal as an open file, and the list of the bytes that it receives."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    received = []

    def receive():
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(ours, 65536):
                received.append(data)

    reader = threading.Thread(target=receive)
    reader.start()
    try:
        with os.fdopen(theirs, "wb", buffering=0) as file:
            yield file, received
    finally:
        reader.join()
        os.close(ours)
