"""How long the command takes to say anything: `loom --help` beside importing click."""

import os

from measure import PYTHON, ROOT, interleaved, report

os.environ["LOOM_PROJECT"] = str(ROOT)
samples = interleaved(
    {
        "python -c pass": [PYTHON, "-c", "pass"],
        "import click": [PYTHON, "-c", "import click"],
        "import loomgit": [PYTHON, "-c", "import loomgit"],
        "loom --help": [PYTHON, "-m", "loomgit", "--help"],
        "loom runs list": [PYTHON, "-m", "loomgit", "runs", "list"],
        "loom validate --offline": [PYTHON, "-m", "loomgit", "validate", "--offline"],
        "loom run --limit 1": [
            PYTHON,
            "-m",
            "loomgit",
            "run",
            "customer_sentiment",
            "--limit",
            "1",
        ],
    },
    rounds=7,
)
report(
    "start-up",
    samples,
    {
        "loom --help / import click (limit 2.0)": samples["loom --help"].wall
        / samples["import click"].wall,
    },
)
