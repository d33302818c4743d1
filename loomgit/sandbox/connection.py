"""Controls one worker: sends inputs, checks replies, and ends a worker that exceeds a limit.

Nothing that a worker sends is trusted, because the program can write to the pipe itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.programs import ExecutionStatus
from loomgit.errors import WorldError
from loomgit.sandbox import messages
from loomgit.sandbox.crashes import CLOSED_PIPE, WROTE_PIPE, describe_exit
from loomgit.sandbox.launch import frame, render_setup, start_process
from loomgit.sandbox.outputs import describe_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.sandbox.launch import WorkerPlan

_LOCK_SECONDS = 30.0  # for the start of Python and the lockdown, which run no code of the program
_READ_SIZE = 1 << 18
_IDLE_SECONDS, _IDLE_CPU_SECONDS = 1.0, 0.25
_EXIT_DELAYS = (0.0, 0.001, 0.005, 0.02, 0.1, 0.3, 0.6)
_STATUSES = frozenset((messages.OK, messages.ERROR, messages.MEMORY, messages.OUTPUT,
                       messages.CPU, messages.DIED))  # fmt: skip


class Failure(Struct, frozen=True):
    """The reason why an execution failed, or why a program could not be imported.

    `error` may contain any text. `seconds` is the time after which Loom ended the worker; 0 if the
    worker failed by itself.
    """

    status: ExecutionStatus
    error: str
    seconds: float = 0.0


class WorkerReply(Struct, frozen=True):
    """A reply with a valid header. `text` is the output as JSON, or the error."""

    status: int
    text: bytes
    seconds: float


_FORGED = Failure("died", WROTE_PIPE)


class WorkerConnection:
    """A worker that has imported a program. Use it in the event loop that opened it."""

    def __init__(self, plan: WorkerPlan) -> None:
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._worker = start_process(plan)
        self._process = self._worker.process
        self._pid: int | None = None
        self._pidfd: int | None = None
        self._buffer = bytearray()
        self._number = messages.LOCK_NUMBER
        self._replies: list[WorkerReply] = []
        self._expected = 0
        self._wall = _LOCK_SECONDS
        self._progress = self._loop.time()
        self._cpu = 0.0
        self._done: asyncio.Future[Failure | None] | None = None
        self._unsent = memoryview(b"")
        self._waits_to_write = False
        self._is_starting = True
        self.is_open = True
        self._loop.add_reader(self._worker.replies, self._read)

    async def start(self) -> Failure | None:
        """Isolate the worker and import the program. Return the failure of the import, or None.

        Raises WorldError if the worker cannot be isolated.
        """
        limits = self._plan.limits
        replies, failure = await self._exchange(render_setup(self._plan), 1, _LOCK_SECONDS)
        if failure is not None or replies[0].status != messages.LOCKED:
            reason = self._worker.read_error() or (failure.error if failure else "")
            if replies:
                reason = replies[0].text.decode("utf-8", "replace")
            raise WorldError(f"a worker for programs cannot be started: {reason}")
        self._find_process()
        replies, failure = await self._exchange(b"", 1, limits.start_seconds)
        if failure is not None:
            return failure
        if replies[0].status != messages.READY:
            return self.describe(replies[0])
        self._is_starting = False
        self._watch_idle(-1, 0.0)
        return None

    async def execute(self, lines: Sequence[bytes]) -> tuple[list[WorkerReply], Failure | None]:
        """Execute inputs, which are lines of JSON.

        Return the replies in order. If there are fewer replies than inputs, return also the failure
        of the next input; the worker has then ended.
        """
        message = frame(b"\n".join(lines))
        return await self._exchange(message, len(lines), self._plan.limits.wall_seconds)

    def describe(self, reply: WorkerReply) -> Failure:
        """Return the failure that a reply without an output reports."""
        limits = self._plan.limits
        if reply.status == messages.MEMORY:
            needed = describe_size(limits.memory_bytes)
            return Failure("memory", f"the program needed more than {needed}")
        if reply.status == messages.CPU:
            return Failure("timeout", _describe_cpu(limits.cpu_seconds))
        error = reply.text.decode("utf-8", "replace")
        if reply.status == messages.DIED:
            return Failure("died", error)
        return Failure("output" if reply.status == messages.OUTPUT else "error", error)

    def kill(self) -> None:
        """End the worker at once. Call `wait` afterwards."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._worker.replies)
        self._loop.remove_writer(self._worker.requests)
        self._find_process()
        # bubblewrap ends when the process inside ends, so the process inside is killed if possible.
        # A process that forks executions ends its fork first.
        if self._pidfd is None:
            forks = self._plan.mode == "fork" and self._plan.level != "bubblewrap"
            self._process.send_signal(signal.SIGTERM if forks else signal.SIGKILL)
        else:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if self._done is not None and not self._done.done():
            self._done.set_result(Failure("died", "the worker was ended"))

    async def wait(self) -> None:
        """Wait until the process of a killed worker has ended, and close the pipes."""
        try:
            await self._exit_code()
        finally:
            if self._process.poll() is None:  # also if this task is cancelled
                self._process.kill()
            self._process.wait()
            self._worker.close_pipes()
            if self._pidfd is not None:
                os.close(self._pidfd)

    def _find_process(self) -> None:
        """Find the process that runs the program, if it is not known yet."""
        if self._pid is not None:
            return
        self._pid = self._worker.find_inner_pid()
        if self._pid not in (None, self._process.pid):
            with suppress(OSError):
                self._pidfd = os.pidfd_open(self._pid)

    async def _exchange(
        self, message: bytes, expected: int, wall_seconds: float
    ) -> tuple[list[WorkerReply], Failure | None]:
        """Send a message and receive replies until all have come or the worker has failed."""
        self._replies, self._expected, self._wall = [], expected, wall_seconds
        self._done = self._loop.create_future()
        self._progress, self._cpu = self._loop.time(), self._cpu_seconds()
        self._unsent = memoryview(message)
        self._timer = self._loop.call_later(self._next_check(0.0, 0.0), self._check_limits)
        try:
            if message:
                self._write()
            self._parse()
            failure = await self._done
        except asyncio.CancelledError:
            self.kill()
            raise
        finally:
            self._timer.cancel()
            self._done = None
        if failure is not None:
            if not failure.error:
                failure = await self._describe_end()
            self.kill()
        return self._replies, failure

    def _finish(self, failure: Failure | None) -> None:
        if self._done is None:  # the worker ended, or sent something, while it had nothing to do
            self.kill()
        elif not self._done.done():
            self._done.set_result(failure)

    def _write(self) -> None:
        """Send as much as fits into the pipe. The rest follows when the worker has read."""
        try:
            count = os.write(self._worker.requests, self._unsent)
        except BlockingIOError:
            count = 0
        except OSError:  # the worker has ended, so that its replies end too
            count = len(self._unsent)
        self._unsent = self._unsent[count:]
        if bool(self._unsent) != self._waits_to_write:
            self._waits_to_write = not self._waits_to_write
            if self._waits_to_write:
                self._loop.add_writer(self._worker.requests, self._write)
            else:
                self._loop.remove_writer(self._worker.requests)

    def _read(self) -> None:
        try:
            content = os.read(self._worker.replies, _READ_SIZE)
        except BlockingIOError:
            return
        if not content:
            self._loop.remove_reader(self._worker.replies)
            self._finish(Failure("died", ""))
            return
        self._buffer += content
        self._parse()

    def _parse(self) -> None:
        """Take the complete replies from the buffer."""
        position, header = 0, messages.HEADER
        while len(self._buffer) - position >= header.size:
            if self._is_starting and len(self._replies) == self._expected:
                break  # the reply of the next step of the start
            size, number, status, seconds = header.unpack_from(self._buffer, position)
            if not self._is_expected(size, number, status):
                self._finish(_FORGED)
                return
            start, end = position + header.size, position + header.size + size
            if len(self._buffer) < end:
                break
            with memoryview(self._buffer) as view:
                reply = WorkerReply(status, bytes(view[start:end]), seconds)
            if status == messages.MEMORY and self._plan.mode == "warm":  # it has ended
                self._finish(self.describe(reply))
                return
            self._replies.append(reply)
            self._number += 1
            position = end
        if position:
            del self._buffer[:position]
            self._progress, self._cpu = self._loop.time(), self._cpu_seconds()
        if len(self._replies) == self._expected and self._done is not None:
            self._finish(_FORGED if self._buffer and not self._is_starting else None)

    def _is_expected(self, size: int, number: int, status: int) -> bool:
        """Whether a reply may have this header."""
        if self._done is None or len(self._replies) >= self._expected or number != self._number:
            return False
        longest = (
            self._plan.limits.output_bytes if status == messages.OK else messages.LONGEST_ERROR
        )
        return size <= longest and (self._is_starting or status in _STATUSES)

    def _check_limits(self) -> None:
        """End the worker if the current execution has exceeded a limit of time."""
        assert self._done is not None
        self._read()  # Loom itself may have been too busy to see a reply
        if self._done.done():
            return
        elapsed = self._loop.time() - self._progress
        cpu = self._cpu_seconds() - self._cpu
        if elapsed >= self._wall:
            self._finish(Failure("timeout", self._describe_wall(), elapsed))
        elif cpu >= self._plan.limits.cpu_seconds:
            limit = self._plan.limits.cpu_seconds
            self._finish(Failure("timeout", _describe_cpu(limit), elapsed))
        else:
            delay = self._next_check(elapsed, cpu)
            self._timer = self._loop.call_later(delay, self._check_limits)

    def _next_check(self, elapsed: float, cpu: float) -> float:
        """Return the seconds before which no limit can be exceeded."""
        return max(0.001, min(self._wall - elapsed, self._plan.limits.cpu_seconds - cpu))

    def _describe_wall(self) -> str:
        if self._is_starting:
            return f"the program was not imported within {self._wall:g} s"
        return f"the program did not end within {self._wall:g} s"

    def _cpu_seconds(self) -> float:
        """Return the CPU time of the worker in seconds; 0 if it has ended or its id is unknown."""
        if self._pid is None:
            return 0.0
        try:
            return time.clock_gettime(~self._pid << 3 | 2)  # clock_getcpuclockid(3)
        except OSError:
            return 0.0

    def _watch_idle(self, number: int, before: float) -> None:
        """End a worker that uses the CPU while it has nothing to do.

        `before` is its CPU time when it had sent `number` replies and became idle.
        """
        if not self.is_open:
            return
        now = self._cpu_seconds()
        if self._done is not None or self._number != number:
            before = now
        elif now - before > _IDLE_CPU_SECONDS:
            self.kill()
            return
        self._loop.call_later(_IDLE_SECONDS, self._watch_idle, self._number, before)

    async def _describe_end(self) -> Failure:
        """Return the failure of a worker that closed its pipe."""
        code = await self._exit_code()
        if code is None or code == messages.PIPE_EXIT:
            return Failure("died", CLOSED_PIPE)
        if code == messages.MEMORY_EXIT:
            return self.describe(WorkerReply(messages.MEMORY, b"", 0.0))
        return Failure("died", describe_exit(code))

    async def _exit_code(self) -> int | None:
        """Return the exit code of the process, negative for a signal; None if it does not end."""
        for delay in _EXIT_DELAYS:
            await asyncio.sleep(delay)
            code = self._process.poll()
            if code is not None:
                signalled = self._plan.level == "bubblewrap" and code > 128
                return 128 - code if signalled else code
        return None


def _describe_cpu(seconds: float) -> str:
    return f"the program needed more than {seconds:g} s of CPU time"
