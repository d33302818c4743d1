"""A run with everything in it, for tests of what keeps and reads runs."""

from msgspec.structs import replace

from loomgit.domain.runs import (
    Case,
    Cost,
    Performance,
    RecordsFile,
    Results,
    Run,
    RunConfig,
    ScoreSummary,
)
from loomgit.domain.versions import Commit

STAGES = {"extract": 0.1, "transform": 1.0, "evaluate": 0.2, "load": 0.1}


def make_run(uid: str = "20261121T101500Z-demo-abc123", **changes) -> Run:
    run = Run(
        schema_version=1,
        run_id="2026-11-21-001",
        uid=uid,
        kind="pipeline",
        pipeline="demo",
        pipeline_version="1.0",
        execution_date="2026-11-21T10:15:00Z",
        started="2026-11-21T10:15:00.000Z",
        commit=Commit("a" * 40, "b" * 40, "main", "2026-11-20T00:00:00+00:00", "Ada"),
        scope="c" * 64,
        config=RunConfig(
            "v1.0", "d" * 40, "embedded/icl", None, {"domain": "v1"}, {}, {}, "e" * 64
        ),
        results=Results("success", 10, 9, 1, 0.1),
        evaluation={"label": ScoreSummary(0.9, 0.1, 0.0, 1.0, 10, 0, 0.7, 9)},
        cost=Cost(0.5, 0.5, {"transform": 0.5, "evaluate": 0.0}, {"input": 1}, 10, 0, 0),
        performance=Performance(1.5, {"p50": 0.1, "p95": None, "p99": None}, STAGES),
        selected=10,
        total=10,
        complete=True,
        environment={"loomgit": "0.1.0"},
        source="data.csv",
        destination="sqlite://x.db/t",
        records=RecordsFile("records/x.jsonl", "f" * 64, 10),
        cases=(Case("c1", "k", "d", {"label": [1.0, None]}, 2, 1, None, 0.1),),
    )
    return replace(run, **changes)
