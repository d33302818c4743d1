"""Processes that write runs into one store at once, one of which is killed; what is left then."""

import multiprocessing
import os
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loomgit.history import schema
from loomgit.history.store import RunStore
from tests.runs import make_run

WRITERS = 8


@dataclass
class Left:
    """What a round left: run files, those that were promised (their `save` returned), and faults:
    files that are not whole, promised ones that are not there, summaries that are missing."""

    seconds: float
    files: int
    promised: int
    killed_at: int
    faults: list[str]


def write_runs(folder: Path, name: str, count: int) -> None:
    """Save runs one after the other; each is noted in `<folder>/../<name>.log` once it is safe."""
    store = RunStore(folder, lambda _: None)
    log = os.open(folder.parent / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(count):
        now = datetime.now(UTC)
        run_id, _ = store.begin("demo", now)
        uid = f"{name}-{number}"
        started = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        store.save(make_run(uid, run_id=run_id, started=started))
        os.write(log, f"{uid}\n".encode())


def attack(folder: Path, count: int, chance: random.Random, *, expected: float) -> Left:
    """One round: eight writers of `count` runs each, one killed within `expected` seconds, while
    somebody reads; then everything is looked at."""
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    store_folder = folder / ".loom"
    names = [f"writer{number}" for number in range(WRITERS)]
    processes = {
        name: context.Process(target=write_runs, args=(store_folder, name, count)) for name in names
    }
    victim = chance.choice(names)
    began = time.perf_counter()
    store_folder.mkdir(parents=True)
    for process in processes.values():
        process.start()
    kill_at = began + chance.uniform(0, expected)
    heard: list[str] = []
    reader = RunStore(store_folder, heard.append)
    while any(process.is_alive() for process in processes.values()):
        if time.perf_counter() >= kill_at:
            processes[victim].kill()
        reader.all()
        time.sleep(0.02)
    for process in processes.values():
        process.join()
    seconds = time.perf_counter() - began
    faults = [f"a reader heard: {text}" for text in heard]
    for name, process in processes.items():
        if name != victim and process.exitcode != 0:
            faults.append(f"{name} ended with {process.exitcode}")
    return look(store_folder, names, victim, count, seconds, faults)


def look(
    folder: Path, names: list[str], victim: str, count: int, seconds: float, faults: list[str]
) -> Left:
    files = {path.stem: path for path in (folder / "runs").glob("*/*.json") if path.name[0] != "."}
    for uid, path in files.items():
        try:
            whole = schema.from_json(path.read_bytes()).uid == uid
        except schema.DamagedRun:
            whole = False
        if not whole:
            faults.append(f"{path.name} is not whole")
    promised: dict[str, list[str]] = {}
    for name in names:
        log = folder.parent / f"{name}.log"
        promised[name] = log.read_text().split() if log.exists() else []
        faults += [f"{uid} is lost" for uid in promised[name] if uid not in files]
        if name != victim and len(promised[name]) != count:
            faults.append(f"{name} promised {len(promised[name])} runs of {count}")
    for what in ("as it is", "built again"):
        rows = RunStore(folder, lambda text: faults.append(f"heard: {text}")).all()
        if [row.uid for row in rows] != [row.uid for row in sorted(rows, key=_order)]:
            faults.append(f"the index {what} is out of order")
        if {row.uid for row in rows} != set(files) or len(rows) != len(files):
            faults.append(f"the index {what} has {len(rows)} runs of {len(files)}")
        if len({row.run_id for row in rows}) != len(rows):
            faults.append("two runs have one run_id")
        (folder / "index.json").unlink(missing_ok=True)
    return Left(
        seconds, len(files), sum(map(len, promised.values())), len(promised[victim]), faults
    )


def _order(row):
    return (row.started, row.uid)
