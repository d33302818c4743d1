"""Runs one version of a program in a small pool of isolated workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from loomgit.domain.exact_json import NotExactError, parse_exact
from loomgit.domain.programs import ProgramResult
from loomgit.domain.safe_text import for_screen
from loomgit.domain.values import to_json
from loomgit.errors import WorldError
from loomgit.sandbox.connection import Failure, WorkerConnection
from loomgit.sandbox.launch import plan_worker
from loomgit.sandbox.messages import OK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.programs import ProgramFiles, ProgramLimits, WorkerMode
    from loomgit.domain.values import Json
    from loomgit.sandbox.connection import WorkerReply
    from loomgit.sandbox.isolation import Isolation

_MESSAGE_INPUTS, _MESSAGE_BYTES = 500, 1 << 20  # the largest message, unless one input is larger
_LONGEST_ERROR = 500
_LONGEST_SECONDS = 86400.0

_Input = tuple[int, bytes]  # the position of an input, and its JSON text


class WorkerPool:
    """A ProgramHost: runs a program in up to `workers` processes, which start when they are needed.

    A warm worker imports the program once and keeps its state from one execution to the next. With
    `mode="fork"`, each execution imports the program in a process of its own. A worker that breaks
    a limit or ends is replaced. Use the pool in one event loop, and close it.
    """

    def __init__(
        self,
        files: ProgramFiles,
        limits: ProgramLimits,
        isolation: Isolation,
        *,
        workers: int = 1,
        mode: WorkerMode = "warm",
    ) -> None:
        self._files, self._limits, self._mode = files, limits, mode
        self._level = isolation.level
        self._size = workers
        self._free = asyncio.Semaphore(workers)
        self._idle: list[WorkerConnection] = []
        self._all: set[WorkerConnection] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def execute(self, inputs: Sequence[Json]) -> Sequence[ProgramResult]:
        """Run the program once for each input; return the executions in the same order.

        Each input that fails ends at most one worker. Raises WorldError if no worker can be
        started or isolated, or if the pool is closed.
        """
        results: list[ProgramResult | None] = [None] * len(inputs)
        lines: list[_Input] = []
        for position, value in enumerate(inputs):
            try:
                lines.append((position, to_json(value)))
            except TypeError as error:
                results[position] = self._failed(
                    Failure("error", f"the input is not JSON: {error}")
                )
        chunks = list(_chunks(lines, self._size))
        if len(chunks) == 1:
            await self._execute_chunk(chunks[0], results)
        elif chunks:
            await self._execute_chunks(chunks, results)
        complete = [result for result in results if result is not None]
        assert len(complete) == len(inputs)
        return complete

    async def close(self) -> None:
        """End all workers, also those that execute inputs, and wait until they have ended."""
        self._is_closed = True
        for worker in tuple(self._all):
            self._end(worker)
        await asyncio.gather(*self._ending)

    async def _execute_chunks(
        self, chunks: Sequence[Sequence[_Input]], results: list[ProgramResult | None]
    ) -> None:
        """Execute several messages at the same time; cancel the others if one raises."""
        tasks = [asyncio.ensure_future(self._execute_chunk(chunk, results)) for chunk in chunks]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _execute_chunk(
        self, chunk: Sequence[_Input], results: list[ProgramResult | None]
    ) -> None:
        """Execute the inputs of one message; start another worker after each that fails."""
        async with self._free:
            while chunk:
                worker, failure = await self._take_worker()
                if failure is not None:
                    for position, _ in chunk:
                        results[position] = self._failed(failure)
                    return
                try:
                    replies, failure = await worker.execute([line for _, line in chunk])
                finally:
                    self._give_back(worker)
                for (position, _), reply in zip(chunk, replies, strict=False):
                    results[position] = self._result(worker, reply)
                chunk = chunk[len(replies) :]
                if failure is not None and chunk:
                    results[chunk[0][0]] = self._failed(failure)
                    chunk = chunk[1:]

    async def _take_worker(self) -> tuple[WorkerConnection, Failure | None]:
        """Return an idle or new worker, and the failure if it could not import the program.

        A worker that could not import the program has ended.
        """
        while self._idle:
            worker = self._idle.pop()
            if worker.is_open:
                return worker, None
            self._end(worker)
        if self._is_closed:
            raise WorldError("the workers of the program were ended")
        worker = WorkerConnection(plan_worker(self._files, self._limits, self._level, self._mode))
        self._all.add(worker)
        failure: Failure | None = Failure("died", "")
        try:
            failure = await worker.start()
        finally:
            if failure is not None:  # also if `start` raised
                self._end(worker)
        return worker, failure

    def _give_back(self, worker: WorkerConnection) -> None:
        if worker.is_open:
            self._idle.append(worker)
        else:
            self._end(worker)

    def _end(self, worker: WorkerConnection) -> None:
        """End a worker; its process is awaited in the background and in `close`."""
        if worker not in self._all:  # `close` has ended it
            return
        worker.kill()
        self._all.discard(worker)
        task = asyncio.get_running_loop().create_task(worker.wait())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _result(self, worker: WorkerConnection, reply: WorkerReply) -> ProgramResult:
        """Return the result of an execution. The text of the reply can contain anything."""
        if reply.status != OK:
            return self._failed(worker.describe(reply), reply.seconds)
        try:
            output = parse_exact(reply.text)
        except NotExactError as error:
            joint = ": " if str(error).startswith("the ") else " "
            return self._failed(Failure("output", f"the output{joint}{error}"), reply.seconds)
        except orjson.JSONDecodeError:
            return self._failed(Failure("output", "the output is not JSON"), reply.seconds)
        return ProgramResult(output, latency=_plausible(reply.seconds), isolation=self._level)

    def _failed(self, failure: Failure, seconds: float | None = None) -> ProgramResult:
        """Return the result of a failed execution, with its error in one line for the screen.

        `seconds` is the time that the worker reported.
        """
        line = for_screen(" ".join(failure.error.split()))
        if len(line) > _LONGEST_ERROR:
            line = f"{line[:_LONGEST_ERROR]}…"
        latency = failure.seconds if seconds is None else _plausible(seconds)
        return ProgramResult(None, failure.status, line, latency, self._level)


def _plausible(seconds: float) -> float:
    """Return a time that a worker reported, or 0 if it cannot be a time."""
    return seconds if 0.0 <= seconds < _LONGEST_SECONDS else 0.0


def _chunks(lines: Sequence[_Input], workers: int) -> Iterator[Sequence[_Input]]:
    """Divide inputs into messages of limited size, at least one for each worker if possible."""
    most = min(_MESSAGE_INPUTS, -(-len(lines) // workers))
    chunk: list[_Input] = []
    size = 0
    for line in lines:
        if chunk and (len(chunk) >= most or size + len(line[1]) > _MESSAGE_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line[1])
    if chunk:
        yield chunk
