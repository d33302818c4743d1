"""The messages between Loom and a worker, which are bytes in two pipes.

A message to the worker has a length of 4 bytes. A message of executions contains the inputs as
lines of JSON. A reply has the header `HEADER` and a text. The replies of a worker are numbered.
This module imports only the standard library, because it also runs in the worker.
"""

from __future__ import annotations

import os
from struct import Struct

HEADER = Struct(">IIBd")  # the length of the text, the number, the status, the seconds
LENGTH = Struct(">I")
# The status of a reply. A worker sends the last three before it runs the program.
OK, ERROR, MEMORY, OUTPUT, CPU, DIED, READY, LOCKED, REFUSED = range(9)
# The numbers of the replies: after the lockdown, after the import, for the first execution.
LOCK_NUMBER, START_NUMBER, FIRST_NUMBER = 0, 1, 2
LONGEST_ERROR = 4096  # bytes in the text of a reply without an output
# The exit codes of a worker that has no memory left, and of a worker whose pipe is closed.
MEMORY_EXIT, PIPE_EXIT = 70, 71

_PIECE = 1 << 20  # bytes of one read, for which Python reserves memory
_write, _read = os.write, os.read


def read_message(descriptor: int) -> bytes:
    """Read one message. The result is empty if there are no more messages."""
    header = read_exactly(descriptor, LENGTH.size)
    return read_exactly(descriptor, LENGTH.unpack(header)[0]) if header else b""


def read_exactly(descriptor: int, count: int) -> bytes:
    """Read `count` bytes. The result is empty if the file ends before."""
    pieces = []
    while count:
        piece = _read(descriptor, min(count, _PIECE))
        if not piece:
            return b""
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def render_reply(number: int, status: int, text: bytes, seconds: float = 0.0) -> bytes:
    """Return one reply with its header."""
    return HEADER.pack(len(text), number, status, seconds) + text


def write_all(descriptor: int, content: bytes) -> None:
    """Write all bytes to a pipe, with several calls if necessary."""
    rest = memoryview(content)
    while rest:
        rest = rest[_write(descriptor, rest) :]
