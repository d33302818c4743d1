"""Writes that fail: a small file system in memory, which only root may mount, and, for everybody,
a limit on the size of each file."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.projects import PIPELINE, make_project

SIZE = 6 * 1024  # KiB
REVIEWS = "review_id,review,expected\n" + "".join(
    f"r-{number},This is great {number} {'x' * 200},positive\n" for number in range(2000)
)


@pytest.fixture
def disk():
    folder = Path(tempfile.mkdtemp(prefix="loom-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def fill(disk, *, leave):
    """Fill the disk up to the last `leave` KiB."""
    found = os.statvfs(disk)
    free = found.f_bavail * found.f_frsize
    (disk / "filling").write_bytes(b"x" * max(0, free - leave * 1024))


@pytest.mark.parametrize("url", ["sqlite://out/demo.db/scores", "out/o.jsonl", "out/o.parquet"])
@pytest.mark.parametrize("leave", [0, 16, 40, 150, 300, 600])
def test_a_run_on_a_full_disk_ends_with_one_line_and_nothing_half_written(disk, url, leave):
    pipeline = PIPELINE.replace("sqlite://out/demo.db/scores", url)
    project = make_project(
        disk / "project", **{"data/reviews.csv": REVIEWS, "pipelines/demo.yaml": pipeline}
    )
    fill(disk, leave=leave)
    done = subprocess.run(
        [sys.executable, "-m", "loomgit", "run", "demo", "--project", str(project)],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(disk)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    line, *hints = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert all("`loom run demo --resume" in hint for hint in hints), done.stderr
    assert len(hints) <= 1
    assert "No space left on device" in line or "disk is full" in line
    assert not list(project.rglob("*.part"))
    for path in project.joinpath(".loom", "records").glob("*.jsonl"):
        for text in path.read_text().splitlines():
            assert json.loads(text)  # no line was cut off
    (disk / "filling").unlink()
    again = subprocess.run(
        [sys.executable, "-m", "loomgit", "run", "demo", "--project", str(project), "--limit", "9"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == 0, again.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of this kind")
@pytest.mark.parametrize("url", ["sqlite://out/demo.db/scores", "out/o.jsonl", "out/o.parquet"])
@pytest.mark.parametrize("limit", [1, 16, 40, 150, 300])
def test_a_run_that_may_write_no_large_file_ends_with_one_line(tmp_path, url, limit):
    import resource

    pipeline = PIPELINE.replace("sqlite://out/demo.db/scores", url)
    project = make_project(
        tmp_path / "project", **{"data/reviews.csv": REVIEWS, "pipelines/demo.yaml": pipeline}
    )
    done = subprocess.run(
        [sys.executable, "-m", "loomgit", "run", "demo", "--project", str(project)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit * 1024,) * 2),
    )
    assert done.returncode == 4, done.stderr
    line, *hints = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert all("`loom run demo --resume" in hint for hint in hints), done.stderr
    assert len(hints) <= 1
    assert not list(project.rglob("*.part"))
    for path in project.joinpath(".loom", "records").glob("*.jsonl"):
        for text in path.read_text().splitlines():
            assert json.loads(text)
