"""Measures a pipeline that transforms CSV rows with the program of a loop app, into SQLite.

The goal is 12,000 records per second for the largest number of rows, and a peak memory that does
not grow with the rows. Beside it: the bare function in a process that reads and writes CSV, and
the same function behind one pipe. The second pipeline also has a deterministic evaluator.
"""

import argparse
import csv
import tempfile
from pathlib import Path

from measure import PYTHON, Sample, measured_rounds, median, parse, report, run

APP = """\
id: spam-detector-001
task: Classify messages
input_schema: {type: object, required: [text], properties: {text: {type: string}}}
output_schema: {type: string, enum: [spam, ham]}
"""
PROGRAM = """\
def execute(input_data):
    spam = "free" in input_data["text"]
    return {"result": "spam" if spam else "ham", "confidence": 0.9}
"""
PIPELINE = """\
name: {name}
extract: {{source: file://data/messages.csv, key: id}}
transform:
  type: program
  app: spam-detector-001
  output: {{label: string, confidence: float}}
{evaluate}load: {{destination: sqlite://data/{name}.db/labels}}
"""
EVALUATE = """\
evaluate:
  evaluators:
    - {name: label, type: exact_match, config: {field: label, reference_field: expected}}
"""
BARE = """
import csv, sys
scope = {}
exec(open(".loom/loop-apps/spam-detector-001/artifacts/v1/program.py").read(), scope)
with open("data/messages.csv", newline="") as source, open("data/out.csv", "w") as target:
    writer = csv.writer(target)
    for row in csv.DictReader(source):
        writer.writerow([row["id"], scope["execute"](row)["result"]])
"""
WORKER = """
import json, sys
scope = {}
exec(open(".loom/loop-apps/spam-detector-001/artifacts/v1/program.py").read(), scope)
for line in sys.stdin:
    print(json.dumps([scope["execute"](row) for row in json.loads(line)]), flush=True)
"""
PIPE = """
import csv, itertools, json, subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", WORKER], stdin=-1, stdout=-1, text=True)
with open("data/messages.csv", newline="") as source, open("data/out.csv", "w") as target:
    writer, rows = csv.writer(target), csv.DictReader(source)
    while batch := list(itertools.islice(rows, 1000)):
        print(json.dumps(batch), file=worker.stdin, flush=True)
        for row, output in zip(batch, json.loads(worker.stdout.readline())):
            writer.writerow([row["id"], output["result"]])
worker.stdin.close()
worker.wait()
""".replace("WORKER", repr(WORKER))


def make(folder: Path, rows: int) -> None:
    """Write a project with this number of rows and commit it."""
    app = ".loom/loop-apps/spam-detector-001"
    files = {
        f"{app}/config.yaml": APP,
        f"{app}/artifacts/v1/program.py": PROGRAM,
        f"{app}/artifacts/active": "v1\n",
        "pipelines/labels.yaml": PIPELINE.format(name="labels", evaluate=""),
        "pipelines/judged.yaml": PIPELINE.format(name="judged", evaluate=EVALUATE),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "data").mkdir()
    with (folder / "data/messages.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "expected"])
        for number in range(rows):
            word, label = ("free", "spam") if number % 7 == 0 else ("late", "ham")
            writer.writerow([f"m-{number:07d}", f"A {word} message with number {number}", label])
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        run(command, cwd=folder)
    commit = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x"]
    run(commit, cwd=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parse(parser, rows=[20, 200], rounds=1)
    commands = {
        "bare function": [PYTHON, "-c", BARE],
        "one pipe": [PYTHON, "-c", PIPE],
        "loom": [PYTHON, "-m", "loomgit", "run", "labels", "-q"],
        "loom, one evaluator": [PYTHON, "-m", "loomgit", "run", "judged", "-q"],
    }
    samples: dict[str, list[Sample]] = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as name:
            make(folder := Path(name), rows)
            for measured in measured_rounds(options.rounds):
                for title, command in commands.items():
                    for database in (folder / "data").glob("*.db"):
                        database.unlink()
                    sample = run(command, cwd=folder)
                    if measured:
                        samples.setdefault(f"{title}, {rows:,} rows", []).append(sample)
    medians = {name: median(each) for name, each in samples.items()}
    small, large = options.rows
    figures = {}
    for title in ("loom", "loom, one evaluator"):
        sample = medians[f"{title}, {large:,} rows"]
        figures |= {
            f"records per second of {title} (goal 12,000)": large / sample.wall,
            f"records per CPU second of {title}, workers included": large / sample.cpu,
            f"peak memory of {title}, large / small run (limit 1.1)": sample.peak
            / medians[f"{title}, {small:,} rows"].peak,
        }
    report("program_pipeline", medians, figures)


if __name__ == "__main__":
    main()
