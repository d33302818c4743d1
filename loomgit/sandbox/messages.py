"""The messages between Loom and a worker, which are bytes in two pipes.

A message to the worker has a length of 4 bytes. A message of executions contains the inputs as
lines of JSON. A reply has the header `HEADER` and a text. The replies of a worker are numbered.
Imports only the standard library, because it runs in the worker too.
"""

from __future__ import annotations

import os
from struct import Struct

HEADER = Struct(">IIBd")  # the length of the text, the number, the status, the seconds
LENGTH = Struct(">I")
# The status of a reply. A worker sends the last three before it runs the program.
OK, ERROR, MEMORY, OUTPUT, CPU, DIED, READY, LOCKED, REFUSED = range(9)
# The numbers of the replies of a worker: after the lockdown, after the import, executions.
LOCK_NUMBER, START_NUMBER, FIRST_NUMBER = 0, 1, 2
LONGEST_ERROR = 4096  # bytes in the text of a reply that is no output
# The exit codes of a worker that lacks the memory to go on, and of one without its pipe.
MEMORY_EXIT, PIPE_EXIT = 70, 71

_PIECE = 1 << 20  # bytes of one read, for which Python reserves memory
_write, _read = os.write, os.read


def read_message(descriptor: int) -> bytes:
    """Read one message; empty if there are no more."""
    header = read_exactly(descriptor, LENGTH.size)
    return read_exactly(descriptor, LENGTH.unpack(header)[0]) if header else b""


def read_exactly(descriptor: int, count: int) -> bytes:
    """Read a number of bytes; empty if the file ends before."""
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
    """Write bytes to a pipe, which may take several calls."""
    rest = memoryview(content)
    while rest:
        rest = rest[_write(descriptor, rest) :]
