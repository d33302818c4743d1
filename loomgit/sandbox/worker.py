"""The process of a worker: gives up its rights, imports the program, and executes inputs.

It starts as `python -I -S -B -c "..." REQUESTS REPLIES` with two pipes, reads its set-up from the
first, and replies on the second. It uses only the standard library. The program shares this
process, so it can change everything here and forge replies: the restrictions are those of the
kernel, and Loom checks every reply.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from loomgit.sandbox import lockdown
from loomgit.sandbox.execution import serve_warm
from loomgit.sandbox.forking import serve_forked
from loomgit.sandbox.messages import (
    LOCK_NUMBER,
    LOCKED,
    REFUSED,
    read_message,
    render_reply,
    write_all,
)
from loomgit.sandbox.mount_paths import translate_mounts
from loomgit.sandbox.source_imports import import_from_sources
from loomgit.sandbox.verification import find_missing_restrictions

if TYPE_CHECKING:
    from typing import Any

_exit = os._exit  # the program may replace it
_FIRST_DESCRIPTOR, _LAST_DESCRIPTOR = 3, 1 << 20


def main() -> None:
    """Run the worker until the requests end. Never returns."""
    requests, replies = int(sys.argv[1]), int(sys.argv[2])
    message = read_message(requests)
    if not message:  # Loom ended
        os._exit(1)
    setup = json.loads(message)
    try:
        _close_other_descriptors(requests, replies)
        _restrict(setup)
    except (lockdown.LockdownError, OSError) as error:
        write_all(replies, render_reply(LOCK_NUMBER, REFUSED, str(error).encode()))
        os._exit(1)
    if setup["artifact"] is None:  # Loom tests the isolation
        missing = "\n".join(find_missing_restrictions(setup["parent"]))
        write_all(replies, render_reply(LOCK_NUMBER, LOCKED, missing.encode()))
        os._exit(0)
    write_all(replies, render_reply(LOCK_NUMBER, LOCKED, b""))
    sys.path[:] = [*sys.path[1:], *setup["library_paths"]]  # without the folder of Loom
    import_from_sources(setup["program_paths"])
    try:
        if setup["mode"] == "fork":
            serve_forked(setup, requests, replies)
        sys.path.insert(0, setup["artifact"])
        serve_warm(setup["artifact"], setup["output_bytes"], requests, replies)
    finally:
        _exit(1)  # skips the exit functions that the program has registered


def _close_other_descriptors(*kept: int) -> None:
    first = _FIRST_DESCRIPTOR
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _LAST_DESCRIPTOR)


def _restrict(setup: dict[str, Any]) -> None:
    """Give up the rights that the isolation of the set-up does not allow."""
    os.chdir("/")
    lockdown.limit_resources(setup["memory_bytes"])
    if setup["level"] != "none":
        lockdown.drop_capabilities()
    if setup["parent"]:  # after the capabilities, because a change of them clears it
        lockdown.end_with_parent(setup["parent"])
    if setup["level"] == "landlock":
        lockdown.restrict_files(setup["readable_paths"])
    translate_mounts(setup["translated_mounts"])
    os.dup2(1, 2)  # until here, errors go to Loom
    if setup["level"] != "none":
        program = setup["forking_filter"] if setup["mode"] == "fork" else setup["filter"]
        lockdown.install_filter(bytes.fromhex(program))
