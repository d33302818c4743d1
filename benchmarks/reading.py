"""Measures how fast Loom reads CSV and JSON lines, directly and through a query.

The script prints the rows per second, and the ratio to orjson without Loom. At the end, it prints
the peak memory of the whole process.
"""

import argparse
import json
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import orjson
from measure import parse

from loomgit.domain.definitions import Extract
from loomgit.domain.ports import QueryValues
from loomgit.rows.sources import open_source

VALUES = QueryValues(datetime.now(UTC))


def write(folder: Path, count: int) -> None:
    """Write the same rows as CSV and as JSON lines."""
    with (folder / "x.csv").open("w") as table, (folder / "x.jsonl").open("w") as lines:
        table.write("id,text,score\n")
        for number in range(count):
            text = f"Review {number}: it arrived at 10:30 and works well enough for the price"
            table.write(f'{number},"{text}",{number / 7}\n')
            lines.write(json.dumps({"id": number, "text": text, "score": number / 7}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=200_000)
    count = parse(parser, rows=500).rows

    def rate(rows) -> float:
        """Read all rows; return the rows per second."""
        began = time.perf_counter()
        number_of_rows = sum(1 for _ in rows)
        assert number_of_rows == count, f"{number_of_rows} of {count} rows"
        return count / (time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, count)

        def source(file: str, query: str | None = None):
            return open_source(Extract(file, query=query), root=folder, values=VALUES).rows()

        with (folder / "x.jsonl").open("rb") as lines:
            alone = rate(orjson.loads(line) for line in lines)
        rates = {"x.jsonl, orjson alone": alone}
        for file in ("x.jsonl", "x.csv"):
            plain = rate(source(file))
            query = rate(source(file, "SELECT * FROM data"))
            rates |= {file: plain, f"{file}, SELECT * FROM data": query}
        for title, speed in rates.items():
            print(f"{title:28} {speed:12,.0f} rows/s {speed / alone:6.2f}")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
