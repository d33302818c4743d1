"""Runs `python -m MODULE` in a fork of a process that has imported everything already.

A fresh process spends seconds on imports, a fork milliseconds. It has its own arguments,
environment, folder, output and exit code, as a fresh process has. Tests of what a command imports
start a fresh process themselves.
"""

import array
import atexit
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import pkgutil
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Imported late by Loom, and slow to import.
LIBRARIES = (
    "_pytest.terminal", "duckdb", "git", "jinja2.sandbox", "jsonschema_rs",
    "numpy", "orjson", "pydantic", "pytest", "rapidfuzz.fuzz", "regex", "scipy.special",
    "sqlite3", "tinydb", "yaml", "zstandard", "concurrent.futures.thread", "aiohttp",
)  # fmt: skip
NOT_IMPORTED = ("loomgit.__main__", "loomgit.reporting")


def run(module, *arguments, cwd, env, timeout=300):
    """Run `python -m module` to its end: a `subprocess.CompletedProcess` with text."""
    if {name: env[name] for name in env if name.startswith("PYTHON")} | _WARNINGS != _own():
        return subprocess.run(  # what Python reads when it starts
            [sys.executable, "-m", module, *arguments],
            cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        request = {"module": module, "arguments": arguments, "cwd": str(cwd), "env": env}
        code, timed_out = _server().ask(request, (out.fileno(), error.fileno()), timeout)
        texts = []
        for file in (out, error):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace").replace("\r\n", "\n"))
    if timed_out:
        raise TimeoutError(f"{module} {arguments} took {timeout} s:\n" + "\n".join(texts))
    return subprocess.CompletedProcess([module, *arguments], code, *texts)


def run_on(files, module, *arguments, cwd, env, timeout=300):
    """Run `python -m module` with two open files as stdout and stderr; return the exit code.

    The variables for Python itself are those of this process.
    """
    own = {name: value for name, value in env.items() if not name.startswith("PYTHON")} | _own()
    request = {"module": module, "arguments": arguments, "cwd": str(cwd), "env": own}
    code, timed_out = _server().ask(request, [file.fileno() for file in files], timeout)
    if timed_out:
        raise TimeoutError(f"{module} {arguments} took {timeout} s")
    return code


_WARNINGS = {"PYTHONWARNINGS": "error::ResourceWarning"}


@cache
def _own():
    """The variables for Python itself that the server starts with."""
    return {name: os.environ[name] for name in os.environ if name.startswith("PYTHON")} | _WARNINGS


class _Server:
    def __init__(self):
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR",
                "LOCPATH") if name in os.environ}  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes", str(there.fileno())],
            cwd=ROOT, env={**kept, **_own()}, pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        there.close()
        self._socket = here
        self._answers = here.makefile("r")

    @property
    def is_alive(self):
        return self._process.poll() is None

    def ask(self, request, files, timeout):
        """Return the exit code and whether the process took too long.

        Such a process and its children end by a signal. Python then prints the stacks of their
        threads to stderr.
        """
        content = json.dumps(request).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
        self._socket.sendmsg([len(content).to_bytes(8, "big")], rights)
        self._socket.sendall(content)
        pid = int(self._answers.readline())
        timer = threading.Timer(timeout, _abort, (pid,))
        timer.start()
        code = int(self._answers.readline())
        timed_out = not timer.is_alive()
        timer.cancel()
        return code, timed_out


def _abort(pid):
    """End a process and its children by SIGABRT."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    pids = children.read_text().split() if children.exists() else []
    for process in (*map(int, pids), pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGABRT)


_servers = []


def _server():
    """The server of this process, started anew where it has died."""
    if not _servers or not _servers[-1].is_alive:
        _servers.append(_Server())
    return _servers[-1]


# -- the server


def _import_everything():
    import loomgit

    names = [module.name for module in pkgutil.walk_packages(loomgit.__path__, "loomgit.")]
    for name in (*names, *LIBRARIES):
        if name not in NOT_IMPORTED:
            importlib.import_module(name)
    from loomgit.evaluators.arbiter import load_arbiter
    from loomgit.gateway.litellm_lane import load_litellm

    load_litellm()
    load_arbiter()


def _serve(connection):
    """Fork for each request; returns the request in the fork, None at the end."""
    while True:
        header, ancillary, _, _ = connection.recvmsg(8, socket.CMSG_SPACE(8))
        if not header:
            return None
        files = array.array("i")
        files.frombytes(ancillary[0][2])
        content = b""
        while len(content) < int.from_bytes(header, "big"):
            content += connection.recv(int.from_bytes(header, "big") - len(content))
        pid = os.fork()
        if pid == 0:
            connection.close()
            return json.loads(content), files
        for file in files:
            os.close(file)
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(request, files):
    """Make this fork the process that was asked for."""
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if os.isatty(number):  # the streams of the server cannot be used: they are seekable
            setattr(sys, name, open(number, "w", buffering=1, encoding="utf-8", closefd=False))  # noqa: SIM115 - stays open
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    faulthandler.enable(2)
    time.tzset()
    random.seed()
    tempfile.tempdir = None
    sys.argv = [request["module"], *request["arguments"]]
    sys.path[0] = request["cwd"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # the project has its own
    gc.unfreeze = lambda: None  # a session calls it at its end, and would then search all modules


def main():
    connection = socket.socket(fileno=int(sys.argv[1]))
    _import_everything()
    assert threading.active_count() == 1, threading.enumerate()
    gc.freeze()
    asked = _serve(connection)
    if asked is None:
        os._exit(0)
    _become(*asked)
    code = _run_module(asked[0]["module"])
    threading._shutdown()
    atexit._run_exitfuncs()
    gc.collect()  # what was not closed says so
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)  # taking down all modules would take longer than most commands


def _run_module(module):
    """The exit code."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if isinstance(error.code, int) or error.code is None:
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - as a process does
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
