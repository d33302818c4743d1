"""A real PostgreSQL server on loopback, for one test process."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

USER = "loom"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "lc_messages": "C",
}


def find_binaries():
    """The folder with `initdb` and `postgres`, or None."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for name in os.get_exec_path():
        folders.append(Path(name))
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _exists(process_group):
    """Whether a process group has a process."""
    try:
        os.killpg(process_group, 0)
    except ProcessLookupError:
        return False
    return True


class PostgresServer:
    """A server with a data folder of its own. Root starts it as `nobody`, because PostgreSQL
    refuses to run as root."""

    def __init__(self, binaries):
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="loom-postgres-", dir="/tmp"))
        self._as_nobody = []
        if os.getuid() == 0:
            shutil.chown(self._folder, "nobody", "nogroup")
            self._as_nobody = [
                "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"
            ]  # fmt: skip
        with contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = None
        self._run("initdb", "--pgdata=data", f"--username={USER}", "--auth=trust",
                  "--encoding=UTF8", "--locale=C", "--no-sync")  # fmt: skip
        self.start()

    def url(self, database="postgres"):
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def connect(self, database="postgres"):
        return psycopg.connect(self.url(database), autocommit=True)

    def start(self):
        options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
        command = [self._binaries / "postgres", "-D", "data", "-p", str(self.port), *options]
        with (self._folder.parent / f"{self._folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_nobody, *command],
                cwd=self._folder, env=self._environment(), stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                self.connect().close()
                return
            assert self._process.poll() is None, self._log().read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self, signal_number=signal.SIGTERM):
        """End the server by a signal. SIGKILL has the effect of a crash.

        The other processes of the server have ended, too, when this method returns.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal_number)
            self._process.wait(timeout=30)
        deadline = time.monotonic() + 30
        while _exists(self._process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def close(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # disconnect the clients
            self._process.wait(timeout=30)
        shutil.rmtree(self._folder)
        self._log().unlink()

    def _log(self):
        return self._folder.parent / f"{self._folder.name}.log"

    def _run(self, program, *arguments):
        subprocess.run(
            [*self._as_nobody, self._binaries / program, *arguments],
            cwd=self._folder, env=self._environment(), check=True, capture_output=True,
        )  # fmt: skip

    def _environment(self):
        return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "Asia/Kathmandu"}
