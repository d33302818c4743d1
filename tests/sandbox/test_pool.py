"""What programs can do, and how the pool treats batches, failures and its end."""

import ast
import asyncio
import importlib.util
import json
import os
import pickle
import py_compile
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loomgit.domain.programs import ProgramFiles, ProgramLimits
from loomgit.errors import UserError, WorldError
from loomgit.sandbox import worker as worker_module
from loomgit.sandbox.isolation import Isolation
from loomgit.sandbox.pool import WorkerPool
from tests.sandbox.pools import LEVELS, LIMITS, require, runner, running_in_sessions, write_program

ROOT = Path(__file__).parents[2]
SPAM = """
import json, re
from pathlib import Path

RULES = json.load(open(Path(__file__).parent / "rules.json"))
SEEN = []

def execute(input_data):
    SEEN.append(1)
    text = input_data["text"]
    if text == "crash":
        import os
        os._exit(3)
    if text == "hang":
        while True:
            pass
    spam = any(re.search(word, text) for word in RULES["words"])
    return {"result": "spam" if spam else "ham", "confidence": 0.9, "seen": len(SEEN)}
"""


@pytest.fixture(scope="module", params=[*LEVELS, "none"])
def level(request):
    if request.param != "none":
        require(request.param)
    return request.param


@pytest.fixture(params=["warm", "fork"])
def mode(request):
    return request.param


@pytest.fixture
def spam(tmp_path):
    return write_program(tmp_path / "v1", SPAM, rules__json='{"words": ["free", "win"]}')


def texts(*values):
    return [{"text": value} for value in values]


def test_results_come_in_the_order_of_the_inputs(spam, level, mode):
    with runner(spam, level, mode=mode, workers=2) as it:
        results = it.run(*texts(*["free" if number % 3 else "hello" for number in range(40)]))
    outputs = [result.output["result"] for result in results]
    assert outputs == ["spam" if number % 3 else "ham" for number in range(40)]
    assert {result.isolation for result in results} == {level}
    assert {(result.status, result.error) for result in results} == {("ok", "")}
    assert all(0 < result.latency < 20 for result in results)


def test_a_failing_input_costs_only_itself(spam, level, mode):
    limits = ProgramLimits(wall_seconds=2, start_seconds=60, cpu_seconds=10)
    with runner(spam, level, mode=mode, limits=limits) as it:
        inputs = [*texts("free", "crash", "a", "hang", "win"), {"no": 1}, *texts("b")]
        results = it.run(*inputs)
    assert [(result.status, result.error) for result in results] == [
        ("ok", ""),
        ("died", "the program ended its process with exit code 3"),
        ("ok", ""),
        ("timeout", "the program did not end within 2 s"),
        ("ok", ""),
        ("error", "program.py:10: KeyError: 'text'"),
        ("ok", ""),
    ]


def test_a_warm_worker_keeps_its_state_and_a_fork_does_not(spam, level, mode):
    with runner(spam, level, mode=mode) as it:
        seen = [result.output["seen"] for result in it.run(*texts("a", "b", "c"))]
        seen += [result.output["seen"] for result in it.run(*texts("d"))]
    assert seen == ([1, 2, 3, 4] if mode == "warm" else [1, 1, 1, 1])


def test_forks_have_different_random_numbers(tmp_path, level):
    source = """
import random
import numpy as np
def execute(_):
    return [random.random(), float(np.random.random())]
"""
    with runner(write_program(tmp_path / "v1", source), level, mode="fork") as it:
        results = it.run(1, 2, 3)
    assert [result.error for result in results] == ["", "", ""]
    for column in zip(*(result.output for result in results), strict=True):
        assert len(set(column)) == 3


def test_a_program_uses_numpy_and_its_own_modules(tmp_path, level, mode):
    source = """
import words
import numpy as np
def execute(x):
    matrix = np.arange(400.0).reshape(20, 20)
    return [words.double(x), float((matrix @ matrix)[0, 1]), float(np.linalg.norm(matrix))]
"""
    artifact = write_program(tmp_path / "v1", source, words__py="def double(x):\n    return x * 2")
    with runner(artifact, level, mode=mode) as it:
        (result,) = it.run("ab")
    assert result.error == ""
    assert result.output[0] == "abab"


def test_an_error_names_the_line_of_a_module_of_the_artifact(tmp_path, level):
    artifact = write_program(
        tmp_path / "v1",
        "import words\ndef execute(x):\n    return words.cut(x)",
        words__py="import json\n\ndef cut(x):\n    return json.loads(x)",
    )
    with runner(artifact, level) as it:
        (result,) = it.run("{")
    assert result.error.startswith("words.py:4: JSONDecodeError: ")


def test_a_program_opens_shared_artifacts_at_their_path(tmp_path, level, mode):
    source = """
import os, pickle
from pathlib import Path
ROOT = Path("/loopai-data/shared/artifacts")
MODEL = pickle.load(open(ROOT / "models/base-v2/model.pkl", "rb"))
def execute(x):
    folder = ROOT / "models/base-v2"
    return [MODEL[x], sorted(os.listdir(folder)), sorted(path.name for path in folder.iterdir()),
            (ROOT / "one.json").read_text(), (ROOT / "one.json").exists(),
            (ROOT / "two.json").exists(), os.path.getsize(ROOT / "one.json")]
"""
    shared = tmp_path / "shared"
    (shared / "base").mkdir(parents=True)
    (shared / "base/model.pkl").write_bytes(pickle.dumps({"a": 1}))
    (shared / "one.json").write_text("[1]")
    (shared / "two.json").write_text("[2]")
    mounts = {
        "/loopai-data/shared/artifacts/models/base-v2/": shared / "base",
        "/loopai-data/shared/artifacts/one.json": shared / "one.json",
    }
    with runner(write_program(tmp_path / "v1", source), level, mode=mode, mounts=mounts) as it:
        (result,) = it.run("a")
    assert result.error == ""
    assert result.output == [1, ["model.pkl"], ["model.pkl"], "[1]", True, False, 3]


def test_json_values_travel_unchanged(tmp_path, level, mode):
    values = [
        None, True, 0, -(2**63), 2**64 - 1, 1.5, -0.0, 1e308, "", "\u2028 \U0001f600 \x00 \"\\\n",
        [], {}, [[[]]], {"": {"a": [None]}}, "x" * 300_000,
    ]  # fmt: skip
    artifact = write_program(tmp_path / "v1", "def execute(x):\n    return x")
    with runner(artifact, level, mode=mode) as it:
        results = it.run(*values)
    assert json.dumps([result.output for result in results]) == json.dumps(values)


def test_an_input_that_is_not_json_is_an_error(spam):
    with runner(spam, "none") as it:
        results = it.run({1: 2}, *texts("a"), 2**70, object())
    assert [result.status for result in results] == ["error", "ok", "error", "error"]
    assert results[0].error.startswith("the input is not JSON: ")


def test_a_large_batch_passes_the_pipe_in_both_directions(tmp_path, level):
    artifact = write_program(tmp_path / "v1", "def execute(x):\n    return x")
    with runner(artifact, level) as it:
        inputs = [f"{number} {'x' * 3000}" for number in range(2000)]
        results = it.run(*inputs)
    assert [result.output for result in results] == inputs


def test_an_input_that_is_larger_than_the_memory_costs_only_itself(tmp_path, level):
    artifact = write_program(tmp_path / "v1", "def execute(x):\n    return len(x)")
    limits = ProgramLimits(60, 60, 60, memory_bytes=64 * 1024**2)
    with runner(artifact, level, limits=limits) as it:
        results = it.run("a", "x" * 60_000_000, "x" * 5_000_000)
    assert [result.error for result in results] == ["", "the program needed more than 64 MiB", ""]
    assert results[2].output == 5_000_000


def test_an_empty_batch_starts_no_worker(spam):
    with runner(spam, "none") as it:
        assert it.run() == []
        assert it.pool._all == set()


def test_calls_at_the_same_time_share_the_workers(spam, level):
    async def call_all(pool):
        return await asyncio.gather(*(pool.execute(texts(f"{n}")) for n in range(30)))

    with runner(spam, level, workers=2) as it:
        answers = it.loop.run_until_complete(call_all(it.pool))
        assert len(it.pool._all) <= 2
    assert all(result.output["result"] == "ham" for (result,) in answers)


def test_a_cancelled_call_ends_its_worker_and_the_pool_goes_on(spam, level, mode):
    with runner(spam, level, mode=mode) as it:
        it.run(*texts("a"))
        (worker,) = it.pool._all

        async def cancel():
            task = asyncio.create_task(it.pool.execute(texts("hang")))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        it.loop.run_until_complete(cancel())
        assert it.run(*texts("free"))[0].output["result"] == "spam"
        assert worker not in it.pool._all


def test_closing_ends_executions(spam, level):
    with runner(spam, level) as it:
        it.run(*texts("a"))

        async def close():
            task = asyncio.create_task(it.pool.execute(texts("hang", "a")))
            await asyncio.sleep(0.2)
            await it.pool.close()
            return (await asyncio.gather(task, return_exceptions=True))[0]

        assert isinstance(it.loop.run_until_complete(close()), WorldError)


def test_a_worker_that_is_killed_while_idle_is_replaced(spam, level, mode):
    with runner(spam, level, mode=mode) as it:
        it.run(*texts("a"))
        (worker,) = it.pool._all
        os.kill(worker._pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while worker.is_open and time.monotonic() < deadline:
            it.loop.run_until_complete(asyncio.sleep(0.01))
        assert it.run(*texts("free"))[0].output["result"] == "spam"


def test_missing_files_are_errors(tmp_path, spam):
    with runner(tmp_path, "none") as it, pytest.raises(WorldError, match="program.py does not"):
        it.run(1)
    with runner(tmp_path, "none", workers=2) as it, pytest.raises(WorldError, match="does not"):
        it.run(*range(1000))
    mounts = {"/loopai-data/a": tmp_path / "absent"}
    with runner(spam, "none", mounts=mounts) as it, pytest.raises(WorldError, match="absent does"):
        it.run(1)
    for path in ("relative", "/a/../b", "/"):
        mounts = {path: spam}
        with runner(spam, "none", mounts=mounts) as it, pytest.raises(UserError, match="absolute"):
            it.run(1)


DRIVER = """
import asyncio, os, sys
from pathlib import Path
from loomgit.domain.programs import ProgramFiles, ProgramLimits
from loomgit.sandbox.isolation import Isolation
from loomgit.sandbox.pool import WorkerPool

async def main():
    files = ProgramFiles(Path(sys.argv[1]))
    pool = WorkerPool(files, ProgramLimits(100, 100, 100), Isolation(sys.argv[2]), mode=sys.argv[3])
    await pool.execute([{"text": "a"}])
    (worker,) = pool._all
    print(worker._process.pid, worker._pid, flush=True)
    await pool.execute([{"text": "hang"}])

asyncio.run(main())
"""


def test_workers_end_with_loom_even_if_it_is_killed(spam, level, mode):
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, spam, level, mode],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    pids = {int(word) for word in process.stdout.readline().split()}
    time.sleep(0.2)  # the program hangs
    assert running_in_sessions(pids)
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 30
    while left := running_in_sessions(pids):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_the_modules_of_the_worker_import_only_the_standard_library():
    pending, seen = ["loomgit.sandbox.worker"], set()
    while pending:
        name = pending.pop()
        seen.add(name)
        path = Path(worker_module.__file__).with_name(f"{name.rpartition('.')[2]}.py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "loomgit.sandbox":
                names = [f"loomgit.sandbox.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for imported in names:
                if imported.startswith("loomgit"):
                    assert imported.startswith("loomgit.sandbox."), (name, imported)
                    pending += [] if imported in seen else [imported]
                else:
                    assert imported.partition(".")[0] in sys.stdlib_module_names, (name, imported)
    assert len(seen) < 12


def test_limits_of_the_default_fit_a_program_with_numpy(tmp_path, level):
    source = "import numpy\ndef execute(x):\n    return numpy.ones(1_000_000).sum().item()"
    pool_limits = ProgramLimits(wall_seconds=60, cpu_seconds=60, start_seconds=60)
    assert pool_limits.memory_bytes == LIMITS.memory_bytes == 512 * 1024**2
    with runner(write_program(tmp_path / "v1", source), level, limits=pool_limits) as it:
        assert it.run(1)[0].output == 1_000_000.0


def test_a_pool_that_is_closed_refuses_inputs(spam):
    async def use():
        pool = WorkerPool(ProgramFiles(spam), LIMITS, Isolation("none"))
        await pool.close()
        with pytest.raises(WorldError, match="were ended"):
            await pool.execute([1])

    asyncio.run(use())


def test_a_program_is_never_imported_from_cached_bytecode(level, mode, tmp_path):
    artifact = write_program(
        tmp_path / "v1",
        "import helper\nimport package.inner\n"
        "def execute(input_data): return [helper.WORD, package.inner.WORD]\n",
        helper__py="WORD = 'source'\n",
    )
    write_program(artifact / "package", "", inner__py="WORD = 'source'\n", __init____py="")
    forged = tmp_path / "forged.py"
    forged.write_text("WORD = 'bytecode'\n")
    for source in (artifact / "helper.py", artifact / "package/inner.py"):
        cached = importlib.util.cache_from_source(str(source))
        py_compile.compile(
            str(forged), cached, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    with runner(artifact, level, mode=mode) as it:
        assert [result.output for result in it.run({})] == [["source", "source"]]
