"""The meaning of each field of a run file.

`loom schema run` and docs/run-record.md show these texts. Each text states the unit of the value,
and when the value is null or empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from loomgit.domain.runs import (
    Case,
    Cost,
    ModelCost,
    Performance,
    RecordsFile,
    Results,
    Run,
    RunConfig,
    ScoreSummary,
    TestRecord,
    WatermarkChange,
)
from loomgit.domain.versions import Commit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Struct

# Maps each class to the texts of its fields. The names are those of the JSON file.
FieldTexts: TypeAlias = "Mapping[type[Struct], Mapping[str, str]]"

RUN_FIELDS: FieldTexts = {
    Run: {
        "schema_version": "The version of this format.",
        "run_id": "The id of the run on this machine: its date in UTC and a number, such as "
        "`2026-11-21-001`.",
        "uid": "The unique id of the run. It is the name of the run file without `.json`, and the "
        "name of the records file without `.jsonl`.",
        "kind": "`pipeline` for `loom run`. `test` for prompt tests, and for results that "
        "`loom compare --run-missing` measured.",
        "pipeline": "The name of the pipeline.",
        "pipeline_version": "The `version` in the pipeline file. Null if the file has none.",
        "execution_date": "The value of `{{ execution_date }}`: ISO 8601, UTC.",
        "started": "The start of the run: ISO 8601, UTC, milliseconds.",
        "commit": "The commit on which the run was based.",
        "scope": "The SHA-256 of the paths, modes and contents of the files that the pipeline "
        "uses. Equal values mean equal files.",
        "config": "The prompt, the context, the model and their versions.",
        "results": "The outcome and the numbers of records.",
        "evaluation": "The scores of each evaluator, by its name.",
        "cost": "The cost of the run.",
        "performance": "The times of the run.",
        "selected": "The number of records of a pipeline run, or of tests of a test run, that the "
        "run covers.",
        "total": "The number of records or tests that exist. It is larger than `selected` if the "
        "user selected some of the tests.",
        "complete": "Whether the run finished its work. False after an error, a stop, a spent "
        "budget, or if some tests were not selected. An incomplete run is never a baseline.",
        "environment": "The versions of `loomgit`, `python`, `litellm` and `arbiter`.",
        "source": "The address of the source. For a test run: the data set of its cases. For a "
        "retry of rejected records: the quarantine.",
        "destination": "The address of the destination. Empty for a test run.",
        "snapshot": "The SHA-256 of the extracted rows. Empty for a test run.",
        "records": "The records file. Null if the run has none.",
        "question": "The evaluation settings that all cases share: `format` (their version), "
        "`evaluators`, `code` (the content of the user's evaluators) and `judge` (the model). "
        "Results with different settings are not comparable.",
        "judges": "The models that answered as judges, by evaluator. The names are those that the "
        "providers report.",
        "cases": "The result of each case. Empty if the run has more than 1,000 cases; the records "
        "file then contains them.",
        "files": "Git's blob id of each file that the pipeline uses and `config` does not name, by "
        "path.",
        "tests": "The result of each test. Empty for a pipeline run.",
        "served": "The models that answered the prompt. The names are those that the providers "
        "report.",
        "limit": "The number of records after which the run stopped reading (`--limit`). Null if "
        "it read all records.",
        "question_from": "The commit that the evaluators, tests and data come from, if it is not "
        "the commit of the run. Else empty.",
        "resumes": "The uid of the first attempt, if the run resumes an unfinished run. Its "
        "results then cover all attempts. Else empty.",
        "target": "The name of the target. Null if the settings have no targets.",
        "watermark": "The watermark of `extract.incremental`. Null if the extraction is not "
        "incremental.",
    },
    WatermarkChange: {
        "cursor": "The name of the cursor.",
        "before": "The watermark from which the run has read. Null for the first run and with "
        "`--full-refresh`.",
        "after": "The watermark after the run. It is equal to `before` if the run was not complete "
        "or found nothing new. Null if no record was read yet.",
    },
    Commit: {
        "id": "The full id of the commit. `unborn` before the first commit.",
        "tree": "The id of the commit's tree.",
        "branch": "The branch. Empty on a detached HEAD.",
        "time": "The author date: ISO 8601.",
        "author": "The name of the author.",
        "dirty": "Whether the working tree had uncommitted changes.",
        "object_format": "The hash of the repository: `sha1` or `sha256`.",
    },
    RunConfig: {
        "prompt_version": "The name of the prompt's version, such as `v2.3.0+1.g1a2b3c4d`. Null if "
        "the pipeline has no prompt.",
        "prompt_blob": "Git's blob id of the prompt. Null if the pipeline has no prompt.",
        "model": "The model that the pipeline requests. Empty if it calls no model.",
        "model_version": "The pinned version of the model. Null if none is pinned.",
        "context_versions": "The name of the version of each context file, by the file's name in "
        "the prompt.",
        "context_blobs": "Git's blob id of each context file, by the file's name in the prompt.",
        "parameters": "`temperature`, `seed` and `max_tokens` (null if not set), `params` (further "
        "parameters of the model), `vars` (the variables) and `judge` (the judge model, null "
        "without a judge).",
        "fingerprint": "The SHA-256 of everything that can change an output or a score, except the "
        "records.",
        "program": "The version of the app whose program transforms the records, such as "
        "`spam-detector-001@v2`. Null if no program does.",
    },
    Results: {
        "status": "`success`: the run reached its thresholds. `partial`: it loaded records, but "
        "missed a threshold, lost too many records to an outage, or was stopped. `failed`: no "
        "record passed, or an error ended the run. `budget_exceeded`: the budget ended the run. A "
        "test run is `success`, or `partial` if a test failed or a reply is missing.",
        "records_processed": "The number of records that have an outcome. In a test run, the "
        "records are the cases.",
        "records_validated": "The number of records that passed the gate.",
        "records_rejected": "The number of all other records.",
        "rejection_rate": "`records_rejected` divided by `records_processed`, from 0 to 1.",
        "records_failed": "The number of rejected records with a failed extract, transform or "
        "evaluator. The other rejected records have low scores.",
        "records_evaluated": "The number of records that the evaluators judged.",
        "records_fallback": "The number of rejected records that have a fallback output.",
        "records_loaded": "The number of rows that the destination accepted.",
        "inserted": "The number of new rows.",
        "updated": "The number of rows that replaced a different row.",
        "unchanged": "The number of rows that the destination already contained.",
        "duplicates": "The number of rows with a key that occurs again later in the run.",
        "kept_out": "The number of rows that the destination refused.",
        "kept_rows": "The number of rows of earlier runs whose records a gate of this run "
        "rejected, and that stay in the destination (`load.on_rejected: keep`).",
        "deleted": "The number of such rows that the run deleted (`load.on_rejected: delete`).",
        "reasons": "The most frequent reasons for rejections, each with its number of records.",
        "cause": "The reason why the run did not succeed: `gate` (it missed its own thresholds or "
        "its budget), `world` (a provider, a disk or a database failed), `user` (the user must "
        "correct a mistake) or `stopped` (a person stopped it). Empty after a success.",
        "message": "The cause in one line. Empty after a success.",
    },
    ScoreSummary: {
        "mean": "The mean score, from 0 to 1. Null if there are no scores.",
        "std": "The sample standard deviation (ddof 1). Null with fewer than two scores.",
        "min": "The lowest score. Null if there are no scores.",
        "max": "The highest score. Null if there are no scores.",
        "n": "The number of scores.",
        "errors": "The number of records without a score, because the evaluator failed.",
        "threshold": "The score that a record must reach.",
        "passed": "The number of scores that reach `threshold`.",
    },
    Cost: {
        "total": "The cost in USD. Null if the price of a call is unknown.",
        "known": "The cost of the calls with a known price, in USD.",
        "breakdown": "The cost in USD of each stage (`transform`, `evaluate`). Null if the price "
        "of a call of the stage is unknown.",
        "tokens": "The numbers of paid tokens: `input`, `output`, and `cached` (the part of "
        "`input` that the provider read from its own cache).",
        "calls": "The number of paid calls.",
        "cached": "The number of replies from Loom's cache.",
        "unpriced": "The number of calls with an unknown price.",
        "models": "The cost by stage and model. Empty for test runs, and for runs that an older "
        "version of Loom stored.",
        "all_attempts": "The cost of all attempts of a resumed run in USD. The other fields "
        "contain the cost of this attempt. Null if the run resumes no run, or if a price is "
        "unknown.",
    },
    ModelCost: {
        "stage": "The stage: `transform` or `evaluate`.",
        "asked": "The name of the model in Loom's request.",
        "model": "The name of the model that the provider reports.",
        "calls": "The number of paid replies.",
        "hits": "The number of replies from Loom's cache.",
        "input": "The number of paid input tokens.",
        "output": "The number of paid output tokens.",
        "cached": "The part of `input` that the provider read from its own cache.",
        "cost": "The cost in USD. Null if the price of a call is unknown.",
        "known": "The cost of the calls with a known price, in USD.",
        "unpriced": "The number of calls with an unknown price.",
        "saved": "The original cost of the `hits`, in USD. Null if it is unknown.",
    },
    Performance: {
        "duration": "The wall time of the run in seconds.",
        "latency": "`p50`, `p95` and `p99` of the time in seconds that a record waited for the "
        "model. Null if no record waited: all replies came from the cache.",
        "stages": "The active time of each stage in seconds. Empty for a test run.",
    },
    RecordsFile: {
        "path": "The path of the file, relative to `.loom`.",
        "sha256": "The SHA-256 of its content.",
        "count": "The number of its lines.",
    },
    Case: {
        "id": "The key of the record, or the name of the test.",
        "key": "A hash of everything that can change the scores, the input included.",
        "def": "A hash of only the input, the expectation and the evaluation settings. Loom "
        "compares two results only if it is equal.",
        "scores": "A list with one score per sample, by evaluator. A missing score is null.",
        "samples": "The number of samples: replies to the same input.",
        "passed": "The number of samples that passed the gate.",
        "cost": "The mean cost of a sample in USD. Null if it is unknown or the reply came from "
        "the cache.",
        "latency": "The mean latency of a sample in seconds. Null if no sample has one.",
    },
    TestRecord: {
        "name": "The name of the test within its file, such as `unit::obvious_positive`.",
        "file": "The path of the test file.",
        "verdict": "`pass`, `fail`, `inconclusive`, `error` or `unverified`.",
        "checks": "One object for each line of the result: `text` (the assertion), `verdict`, "
        "`actual` (the observed value as text), `low` and `high` (the 90 % interval, null without "
        "a bound), `n` (the number of values, null without an interval) and `note`.",
        "message": "The reason for the verdict. Empty if the checks show it.",
    },
}
