"""What exact reading costs: JSON lines beside orjson alone, and a query beside the plain file.

    python benchmarks/reading.py [ROWS]

Prints rows per second and the ratios within this run; the peak of memory is that of the process.
"""

import json
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import orjson

from loomgit.domain.definitions import Extract
from loomgit.domain.ports import QueryValues
from loomgit.rows.sources import open_source

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
VALUES = QueryValues(datetime.now(UTC))


def write(folder: Path) -> None:
    """The same rows as CSV and as JSON lines."""
    with (folder / "x.csv").open("w") as table, (folder / "x.jsonl").open("w") as lines:
        table.write("id,text,score\n")
        for number in range(ROWS):
            text = f"Review {number}: it arrived at 10:30 and works well enough for the price"
            table.write(f'{number},"{text}",{number / 7}\n')
            lines.write(json.dumps({"id": number, "text": text, "score": number / 7}) + "\n")


def rate(rows) -> float:
    """Rows per second."""
    began = time.perf_counter()
    count = sum(1 for _ in rows)
    assert count == ROWS
    return count / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)

        def source(file: str, query: str | None = None):
            return open_source(Extract(file, query=query), root=folder, values=VALUES).rows()

        with (folder / "x.jsonl").open("rb") as lines:
            alone = rate(orjson.loads(line) for line in lines)
        found = {"x.jsonl, orjson alone": alone}
        for file in ("x.jsonl", "x.csv"):
            plain = rate(source(file))
            query = rate(source(file, "SELECT * FROM data"))
            found |= {file: plain, f"{file}, SELECT * FROM data": query}
        for title, speed in found.items():
            print(f"{title:28} {speed:12,.0f} rows/s {speed / alone:6.2f}")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
