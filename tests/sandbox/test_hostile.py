"""Hostile programs: each is contained, costs one line of error, and the next input is served.

`test_other_user.py` runs these tests as another user too.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

import pytest

from loomgit.domain.programs import ProgramLimits
from tests.sandbox.pools import LEVELS, Runner, require, runner, write_program

ATTACKS = Path(__file__).with_name("hostile_program.py")
SHARED = "/loopai-data/shared/artifacts/words.txt"
DENIED = r"(PermissionError|OSError|FileNotFoundError|RuntimeError|ValueError)"

# Attacks that return what they could do: nothing may be ESCAPED.
CONTAINED = (
    "sockets", "system_calls", "read_secret", "read_system_files", "list_folders", "read_loom",
    "write_artifact", "write_elsewhere", "follow_symlinks", "processes", "memfd_execve", "threads",
    "signals", "limits", "shared_memory", "many_descriptors", "pickled_code",
)  # fmt: skip
# Attacks that end with an error: the status and the whole line.
FAILING = {
    "recurse": ("error", r"program\.py:\d+: RecursionError: maximum recursion depth exceeded.*"),
    "overflow_stack": (
        "died" if sys.version_info < (3, 12) else "error",
        r"the program crashed \(SIGSEGV\)|program\.py:\d+: RecursionError: .*",
    ),
    "crash": ("died", r"the program crashed \(SIGSEGV\)"),
    "abort": ("died", r"the program crashed \(SIG(ABRT|SEGV|ILL|TRAP)\)"),
    "exit_python": ("error", r"program\.py:\d+: SystemExit: bye"),
    "exit_process": ("died", r"the program ended its process with exit code 0"),
    "exit_hooks": ("error", r"program\.py:\d+: SystemExit: 0"),
    "memory": ("memory", r"the program needed more than 256 MiB"),
    "memory_in_one_piece": ("memory", r"the program needed more than 256 MiB"),
    "close_descriptors": ("died", r"the program closed the pipe of its worker"),
    "flood_pipe": ("died", r"the program wrote to the pipe of its worker"),
    "forge_large_reply": ("died", r"the program wrote to the pipe of its worker"),
    "forge_number": ("died", r"the program wrote to the pipe of its worker"),
    "lying_object": ("output", r"the output contains a value of the type Liar, which is not JSON"),
    "not_a_number": ("output", r"the output contains nan, which is not JSON"),
    "infinite": ("output", r"the output contains -inf, which is not JSON"),
    "huge_integer": ("output", r"the output contains an integer with more than 64 bits"),
    "lying_huge_integer": ("output", r"the output contains an integer with more than 64 bits"),
    "number_as_key": ("output", r"the output has a key that is not text but .* type int"),
    "same_key_twice": ("output", r"the output has the key 'a' twice in one object"),
    "cycle": ("output", r"the output nests more than 200 levels deep"),
    "many_laughs": ("output", r"the output is larger than 1 MiB"),
    "raw_bytes": ("output", r"the output contains a value of the type bytes, which is not JSON"),
    "surrogate": ("output", r"the output holds an unpaired surrogate \(\\ud800\)"),
    "large_output": ("output", r"the output is larger than 1 MiB"),
    "hostile_exception": ("error", r"an exception that has no description"),
    "exception_with_controls": ("error", r"program\.py:\d+: ValueError: a\\x1b\[2Jb c\\u202edx+"),
    "exception_group": ("error", r"program\.py:\d+: BaseExceptionGroup: many \(2 sub-exceptions\)"),
    "memory_mapped": ("error", r"program\.py:\d+: OSError: .*Cannot allocate memory"),
}  # fmt: skip
# Attacks that use up the time.
HANGING = ("loop", "sleep", "loop_in_finally", "catch_everything", "close_and_loop")
# Attacks that change the worker.
CORRUPTING = ("replace_builtins", "replace_modules", "replace_time", "forge_replies",
              "leave_spinning_finalizer")  # fmt: skip


@pytest.fixture(scope="module", params=LEVELS)
def level(request):
    require(request.param)
    return request.param


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """An artifact with the attacks, a shared file, and a secret outside both."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "secret.txt").write_text("the secret")
    (folder / "words.txt").write_text("shared words")
    write_program(folder / "artifact", ATTACKS.read_text(), data__json="[1]")
    (folder / "artifact/to-secret").symlink_to(folder / "secret.txt")
    (folder / "artifact/to-folder").symlink_to(folder)
    return folder


@pytest.fixture(scope="module")
def worker(places, level):
    """A pool that the attacks share; they leave no trace in it."""
    limits = ProgramLimits(wall_seconds=30, cpu_seconds=30, start_seconds=60,
                           memory_bytes=256 * 1024**2)  # fmt: skip
    mounts = {SHARED: places / "words.txt"}
    with runner(places / "artifact", level, limits=limits, mounts=mounts) as it:
        yield it


def attack(it, places, name):
    given = {"attack": name, "secret": str(places / "secret.txt"), "loom": os.getpid(),
             "shared": SHARED}  # fmt: skip
    result, following = it.run(given, "next")
    assert following.output == "served", following
    assert result.isolation == following.isolation
    return result


def state(places):
    """What a program must not change."""
    files = [path for path in places.rglob("*") if path.is_file()]
    return {
        str(path): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in files
    }


@pytest.mark.parametrize("name", CONTAINED)
def test_an_attack_reaches_nothing(worker, places, name):
    before = state(places)
    result = attack(worker, places, name)
    assert result.status == "ok", result
    text = json.dumps(result.output)
    assert "ESCAPED" not in text, result.output
    assert re.search(DENIED, text)
    assert state(places) == before
    assert not Path("/tmp/loom-pickle-escaped").exists()


def test_a_program_has_no_secret_in_its_environment(worker, places, monkeypatch):
    monkeypatch.setenv("LOOM_TEST_SECRET", "hidden")
    environment = attack(worker, places, "environment").output
    known = {"HOME", "LANG", "LC_CTYPE", "PATH", "PWD", "TZ", "LD_LIBRARY_PATH", "MKL_NUM_THREADS",
             "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}  # fmt: skip
    assert environment.keys() <= known


def test_a_program_reads_a_shared_file_and_cannot_write_it(worker, places):
    text, *attempts = attack(worker, places, "write_shared").output
    assert text == "shared words"
    assert all(re.fullmatch(DENIED, attempt) for attempt in attempts)
    assert (places / "words.txt").read_text() == "shared words"


def test_a_flood_of_output_reaches_no_stream(worker, places, capfd):
    assert attack(worker, places, "flood_streams").output == "written"
    assert capfd.readouterr() == ("", "")


def test_containers_that_lie_are_read_as_what_they_are(worker, places):
    assert attack(worker, places, "lying_containers").output == {"a": ["truth", 5]}


@pytest.mark.parametrize("name", FAILING)
def test_an_attack_costs_one_line(worker, places, name):
    before = state(places)
    result = attack(worker, places, name)
    status, line = FAILING[name]
    assert re.fullmatch(line, result.error.removesuffix("…")), result
    assert result.status == status
    assert result.output is None
    assert len(result.error) <= 501
    assert state(places) == before
    assert not Path("/tmp/loom-atexit-escaped").exists()


@pytest.mark.parametrize("name", HANGING)
def test_a_program_that_hangs_is_ended(places, level, name):
    limits = ProgramLimits(wall_seconds=1.5, cpu_seconds=10, start_seconds=60)
    with runner(places / "artifact", level, limits=limits) as it:
        it.run("next")
        result = attack(it, places, name)
    if name == "close_and_loop":
        assert (result.status, result.error) == (
            "died",
            "the program closed the pipe of its worker",
        )
    else:
        assert (result.status, result.error) == ("timeout", "the program did not end within 1.5 s")
        assert result.latency >= 1.5


def test_a_program_that_uses_too_much_cpu_time_is_ended(places, level):
    limits = ProgramLimits(wall_seconds=60, cpu_seconds=0.3, start_seconds=60)
    with runner(places / "artifact", level, limits=limits) as it:
        it.run("next")
        result = attack(it, places, "loop")
    assert (result.status, result.error) == (
        "timeout", "the program needed more than 0.3 s of CPU time"
    )  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTING)
def test_a_program_that_changes_its_worker_harms_only_itself(places, level, name):
    """Each result is an output or one line, and a worker that breaks is replaced."""
    limits = ProgramLimits(wall_seconds=5, cpu_seconds=5, start_seconds=60)
    with runner(places / "artifact", level, limits=limits) as it:
        given = {"attack": name}
        results = it.run(given, "next", "next")
        results += it.run("next", given, "next")
        results += it.run("next")
    for result in results:
        assert (result.status == "ok") == (result.error == ""), result
        assert "\n" not in result.error
        assert 0 <= result.latency < 60
    # A program may forge its own results, and its finalizers run when they like.
    last = {"forge_replies": ("served", "forged"), "leave_spinning_finalizer": ("served", None)}
    assert results[-1].output in last.get(name, ("served",)), results


def test_forged_outputs_are_checked(places, level):
    limits = ProgramLimits(wall_seconds=5, cpu_seconds=5, start_seconds=60)
    with runner(places / "artifact", level, limits=limits) as it:
        *results, last = it.run({"attack": "forge_outputs"}, *["next"] * 6, "next")
        following = it.run("next")
    assert [result.error for result in results] == [
        "the output is not JSON",
        "the output is not JSON",
        "the output is not JSON",
        "the output has the key 'a' twice in one object",
        "the output: the integer 111111111111111111111111… has more than 64 bits",
        "the output is not JSON",
        "the output nests 300 levels deep, more than 200",
    ]
    assert last.error == "the program did not end within 5 s"
    assert following[0].output == "served"


def test_a_worker_that_spins_while_it_has_nothing_to_do_is_ended(places, level):
    limits = ProgramLimits(wall_seconds=60, cpu_seconds=60, start_seconds=60)
    it = Runner(places / "artifact", level, limits=limits)
    try:
        assert it.run({"attack": "forge_and_spin"})[0].output == "forged"
        assert all(worker.is_open for worker in it.pool._all)
        deadline = time.monotonic() + 60
        while any(worker.is_open for worker in it.pool._all):
            assert time.monotonic() < deadline
            it.loop.run_until_complete(_pause())
        assert it.run("next")[0].output == "served"
    finally:
        it.close()


async def _pause():
    import asyncio

    await asyncio.sleep(0.2)


FORK_ERRORS = {
    "close_descriptors": r"the program closed the pipe of its worker",
    # On a busy machine, the closed pipe is noticed after the limit.
    "close_and_loop": r"the program (closed the pipe of its worker|needed more than 1 s of CPU .*)",
    "flood_pipe": r"the program wrote to the pipe of its worker",
    "forge_large_reply": r"the program wrote to the pipe of its worker",
    "crash": r"the program crashed \(SIGSEGV\)",
    "exit_process": r"the program ended its process with exit code 0",
    "exit_python": r"program\.py:\d+: SystemExit: bye",
    "memory": r"the program needed more than 256 MiB",
    "loop": r"the program needed more than 1 s of CPU time",
}  # fmt: skip


def test_forks_are_contained_and_cost_only_themselves(places, level):
    """Each fork ends, and the process that forks serves the next input."""
    limits = ProgramLimits(wall_seconds=100, cpu_seconds=1, start_seconds=100,
                           memory_bytes=256 * 1024**2)  # fmt: skip
    mounts = {SHARED: places / "words.txt"}
    before = state(places)
    with runner(places / "artifact", level, limits=limits, mounts=mounts, mode="fork") as it:
        for name in CONTAINED:
            text = json.dumps(attack(it, places, name).output)
            assert "ESCAPED" not in text, (name, text)
            assert re.search(DENIED, text), (name, text)
        for name in CORRUPTING:
            attack(it, places, name)
        (first,) = it.pool._all
        for name, line in FORK_ERRORS.items():
            result = attack(it, places, name)
            assert re.fullmatch(line, result.error), (name, result)
            assert it.pool._all == {first}, name
    assert state(places) == before


@pytest.mark.parametrize("name", ["sleep", "catch_everything"])
def test_a_fork_that_hangs_is_ended_with_its_worker(places, level, name):
    limits = ProgramLimits(wall_seconds=5, cpu_seconds=20, start_seconds=100)
    with runner(places / "artifact", level, limits=limits, mode="fork") as it:
        result = attack(it, places, name)
    assert (result.status, result.error) == ("timeout", "the program did not end within 5 s")


BROKEN = {
    "syntax": ("def execute(x)\n    return", r"program\.py:1: SyntaxError: expected ':'"),
    "missing function": ("x = 1", r"TypeError: program\.py has no function execute\(input_data\)"),
    "missing module": (
        "\nimport nothing_here\n",
        r"program\.py:2: ModuleNotFoundError: No module named 'nothing_here'",
    ),
    "exception": ("1 / 0", r"program\.py:1: ZeroDivisionError: division by zero"),
    "exit": ("import os\nos._exit(4)", r"the program ended its process with exit code 4"),
    "memory": ("x = bytearray(10**10)", r"the program needed more than 512 MiB"),
    "forged start": (
        "from tests_of_loom import nothing\n",
        r"program\.py:1: ModuleNotFoundError: No module named 'tests_of_loom'",
    ),
    "network": ("import socket\nsocket.create_connection(('127.0.0.1', 80), 1)",
                r"program\.py:2: PermissionError: .*"),
    "null bytes": ("x = '\0'", r"(program\.py:\d+: )?(SyntaxError|ValueError): .*null bytes.*"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_program_that_cannot_be_imported_costs_one_line_and_one_worker(tmp_path, level, name):
    source, line = BROKEN[name]
    with runner(write_program(tmp_path / "a", source), level) as it:
        results = it.run(1, 2, 3)
        assert it.pool._all == set()
    assert len(results) == 3
    for result in results:
        assert result.status in ("error", "died", "memory")
        assert re.fullmatch(line, result.error), result


def test_an_import_that_hangs_is_ended(tmp_path, level):
    limits = ProgramLimits(start_seconds=1.5)
    with runner(write_program(tmp_path / "a", "while True: pass"), level, limits=limits) as it:
        (result,) = it.run(1)
    assert result.error == "the program was not imported within 1.5 s"
    assert result.status == "timeout"


def test_the_program_of_the_attacks_has_no_attack_without_a_test():
    names = set(re.findall(r"^def (\w+)\((?:_|given)\):", ATTACKS.read_text(), re.MULTILINE))
    tested = {
        *CONTAINED, *FAILING, *HANGING, *CORRUPTING, "environment", "write_shared", "flood_streams",
        "lying_containers", "forge_and_spin", "forge_outputs", "execute",
    }  # fmt: skip
    assert names - tested == set()
    assert tested - names == set()


def test_no_temporary_files_are_left(places, level, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with runner(places / "artifact", level) as it:
        it.run("next", {"attack": "exit_process"}, "next")
    assert list((tmp_path / "temporary").iterdir()) == []
