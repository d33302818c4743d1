"""The pydantic model of an app's `config.yaml` and of its specification, and their parsers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec.structs import replace
from pydantic import ConfigDict, Discriminator, Field, Tag

from loomgit.config.document import UnquotedScalar, quote
from loomgit.config.file_model import MAP, TEXT, FileModel, problems_error, union_tag, validate
from loomgit.config.output_schema import read_schema
from loomgit.config.scalars import (
    Count,
    InvalidValue,
    JsonValue,
    NonBlankText,
    Positive,
    Reader,
    SecondsOrDuration,
    Share,
    choice,
    expected,
    parse_number,
    read_nonblank_text,
)
from loomgit.config.yaml_text import parse_yaml
from loomgit.domain.apps import (
    APP_ID,
    APP_ID_RULE,
    APP_STATES,
    PRIVACIES,
    SAMPLING_STRATEGIES,
    VERSION_NAME,
    AppSettings,
    AppState,
    Privacy,
    Retention,
    Sampling,
    SamplingStrategy,
    is_app_id,
)
from loomgit.domain.programs import ProgramLimits, WorkerMode
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from loomgit.config.document import Document
    from loomgit.domain.place import Problem

SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(B|KB|MB|GB|KiB|MiB|GiB)")
UNITS = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
MAX_SIZE = 2**50  # bytes
# A revision that is not trusted sets the limits of its own programs, so they have upper bounds.
MOST_SECONDS = 3600.0
MOST_MEMORY, MOST_OUTPUT = 64 * 1024**3, 256 * 1024**2
SPECIFICATION_KEYS = ("current_version", "endpoint")  # checked when an app is created


def _read_app_id(value: object) -> str:
    text = read_nonblank_text(value, "the id of an app")
    if not is_app_id(text):
        raise InvalidValue(f"{quote(text)} is not the id of an app", APP_ID_RULE)
    return text


def _read_size(value: object) -> int:
    size = SIZE.fullmatch(value) if isinstance(value, str) else None
    if size is None or not 0 < float(size[1]) * UNITS[size[2]] <= MAX_SIZE:
        raise expected("a size such as 512MB", value)
    return int(float(size[1]) * UNITS[size[2]])


AppId: TypeAlias = Annotated[
    str, Reader(_read_app_id, {"type": "string", "pattern": f"^{APP_ID.pattern}$"})
]
Schema: TypeAlias = Annotated[dict[str, JsonValue], Reader(read_schema, {"type": "object"})]
Size: TypeAlias = Annotated[
    int, Reader(_read_size, {"type": "string", "pattern": f"^{SIZE.pattern}$"})
]
AppStateName: TypeAlias = Annotated[AppState, choice("state", APP_STATES)]


class SamplingModel(FileModel):
    """The executions that are selected for validation"""

    rate: Share = Field(description="The share of the executions, from 0 to 1")
    strategy: Annotated[SamplingStrategy, choice("strategy", SAMPLING_STRATEGIES)] = Field(
        default="random",
        description="random, uncertainty (outputs with a low confidence first) or stratified",
    )


def _read_rate(value: object) -> SamplingModel:
    number = parse_number(value) if isinstance(value, UnquotedScalar) else None
    if number is None or not 0 <= number <= 1:
        raise expected("a number from 0 to 1", value)
    return SamplingModel.model_construct(rate=float(number), strategy="random")


SamplingForm: TypeAlias = Annotated[
    Annotated[
        SamplingModel,
        Reader(_read_rate, {"type": "number", "minimum": 0, "maximum": 1}),
        Tag(TEXT),
    ]
    | Annotated[SamplingModel, Tag(MAP)],
    Discriminator(union_tag),
]


class RetentionModel(FileModel):
    """How long executions are stored"""

    days: Count | None = Field(default=None, description="The number of days")
    size: Size | None = Field(default=None, description="The total size, for example 500MB")


class LimitsModel(FileModel):
    """The limits of a program"""

    wall: SecondsOrDuration | None = Field(default=None, description="The time of one execution")
    cpu: SecondsOrDuration | None = Field(default=None, description="The CPU time of one execution")
    start: SecondsOrDuration | None = Field(
        default=None, description="The time in which the program is imported"
    )
    memory: Size | None = Field(default=None, description="The address space, for example 512MB")
    output: Size | None = Field(default=None, description="The size of an output as JSON")


class AppModel(FileModel):
    """Settings of a loop app"""

    model_config = ConfigDict(title="Loom app")

    id: AppId | None = Field(default=None, description=f"The id of the app; {APP_ID_RULE}")
    loop_app_id: AppId | None = Field(default=None, description="Another name of the key `id`")
    name: NonBlankText | None = Field(default=None, description="The title of the app")
    task: NonBlankText = Field(description="What the program does, in one sentence")
    input_schema: Schema = Field(description="The JSON Schema of an input")
    output_schema: Schema = Field(description="The JSON Schema of an output")
    sampling: SamplingForm | None = Field(
        default=None, description="The executions that are selected for validation"
    )
    privacy: Annotated[Privacy, choice("privacy", PRIVACIES)] = Field(
        default="strict",
        description="What the execution log contains: strict (hashes only), balanced (personal data"
        " is masked) or permissive (everything)",
    )
    retention: RetentionModel | None = Field(
        default=None, description="How long executions are stored"
    )
    accuracy_target: Share | None = Field(
        default=None, description="The share of examples that a version must answer correctly"
    )
    latency_target_ms: Positive | None = Field(
        default=None, description="The limit of the 95th percentile of the latency, in milliseconds"
    )
    worker: Annotated[WorkerMode, choice("worker", ("warm", "fork"))] = Field(
        default="warm", description="warm, or fork (one process for each execution)"
    )
    limits: LimitsModel | None = Field(default=None, description="The limits of the program")
    lifecycle: AppStateName = Field(default="active", description="active, paused or archived")
    current_version: JsonValue = Field(
        default=None, description="Accepted in a specification; `artifacts/active` has the version"
    )
    endpoint: JsonValue = Field(
        default=None, description="Accepted in a specification: /loop-apps/<id>/execute"
    )


def parse_app(text: str, path: str, app: str) -> AppSettings:
    """Parse the `config.yaml` of the app with the id `app`. Raises ProblemsFound."""
    return _parse(text, path, app, specification=False)


def parse_specification(text: str, path: str, app: str) -> AppSettings:
    """Parse the specification from which the app `app` is created.

    The id can be missing in a specification. The keys `current_version` and `endpoint` must have
    valid values. Raises ProblemsFound.
    """
    return _parse(text, path, app, specification=True)


def _parse(text: str, path: str, app: str, *, specification: bool) -> AppSettings:
    document = parse_yaml(text, path)
    model = validate(AppModel, document)
    if isinstance(model, list):
        raise problems_error([*document.problems, *model])
    problems = [*document.problems, *_id_problems(model, document, app, specification)]
    problems += _limit_problems(model.limits, document)
    if specification:
        problems += _specification_problems(document, app)
    if problems:
        raise problems_error(problems)
    return _settings(model, document, app)


def _id_problems(
    model: AppModel, document: Document, app: str, specification: bool
) -> list[Problem]:
    problems = []
    for key, value in (("id", model.id), ("loop_app_id", model.loop_app_id)):
        if value is not None and value != app:
            message = f"expected '{app}', found {quote(value)}"
            hint = "the id is the name of the folder" if not specification else "use one id"
            problems.append(document.problem((key,), message, hint))
    if not specification and model.id is None and model.loop_app_id is None:
        problems.append(document.problem((), "missing key 'id'", f"write id: {app}"))
    return problems


def _limit_problems(limits: LimitsModel | None, document: Document) -> list[Problem]:
    """Return a problem for each limit that is above its upper bound."""
    if limits is None:
        return []
    bounds = {
        "wall": (limits.wall, MOST_SECONDS, "1h"),
        "cpu": (limits.cpu, MOST_SECONDS, "1h"),
        "start": (limits.start, MOST_SECONDS, "1h"),
        "memory": (limits.memory, MOST_MEMORY, "64GiB"),
        "output": (limits.output, MOST_OUTPUT, "256MiB"),
    }
    return [
        document.problem(("limits", key), f"expected at most {text}")
        for key, (value, most, text) in bounds.items()
        if value is not None and value > most
    ]


def _specification_problems(document: Document, app: str) -> list[Problem]:
    """Return the problems of the keys that only a specification has."""
    problems = []
    version = document.find(("current_version",))
    if document.has(("current_version",)) and (
        not isinstance(version, str) or not VERSION_NAME.fullmatch(f"v{version.removeprefix('v')}")
    ):
        problems.append(
            document.problem(("current_version",), "expected a version such as 1 or v1")
        )
    endpoint, right = document.find(("endpoint",)), f"/loop-apps/{app}/execute"
    if document.has(("endpoint",)) and endpoint != right:
        shown = quote(endpoint) if isinstance(endpoint, str) else "another value"
        problems.append(
            document.problem(
                ("endpoint",), f"expected '{right}', found {shown}", "the path follows from the id"
            )
        )
    return problems


def _settings(model: AppModel, document: Document, app: str) -> AppSettings:
    sampling, retention = model.sampling, model.retention
    return AppSettings(
        id=app,
        name=model.name or app,
        task=model.task,
        input_schema=model.input_schema,
        output_schema=model.output_schema,
        sampling=Sampling(sampling.rate, sampling.strategy) if sampling else Sampling(),
        privacy=model.privacy,
        retention=Retention(retention.days, retention.size) if retention else Retention(),
        accuracy_target=model.accuracy_target,
        latency_target_ms=model.latency_target_ms,
        worker=model.worker,
        limits=_limits(model.limits),
        state=model.lifecycle,
        places=document.places(),
    )


def _limits(model: LimitsModel | None) -> ProgramLimits:
    default = ProgramLimits()
    if model is None:
        return default
    return ProgramLimits(
        wall_seconds=model.wall or default.wall_seconds,
        cpu_seconds=model.cpu or default.cpu_seconds,
        start_seconds=model.start or default.start_seconds,
        memory_bytes=model.memory or default.memory_bytes,
        output_bytes=model.output or default.output_bytes,
    )


def make_config(text: str, path: str, app: str) -> str:
    """Return the text of `config.yaml` for an app that is created from a specification.

    It is the specification with its comments, with an id, and without the keys that only a
    specification has. Raises ProblemsFound if the specification is invalid.
    """
    settings = parse_specification(text, path, app)
    document = parse_yaml(text, path)
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    removed = {document.place((key,)).line for key in SPECIFICATION_KEYS if document.has((key,))}
    kept = "".join(line for number, line in enumerate(lines, 1) if number not in removed)
    has_id = document.find(("id",)) or document.find(("loop_app_id",))
    config = kept if has_id else f"id: {app}\n{kept}"
    for candidate in (config, text):
        if _is_same(candidate, path, settings):
            return candidate
    raise problems_error([document.problem((), "missing key 'id'", f"write id: {app}")])


def with_state(text: str, path: str, app: str, state: AppState) -> str | None:
    """Return the text of `config.yaml` with another `lifecycle`; all other lines do not change.

    Returns None if this is not possible, for example because the file has its keys on one line.
    """
    settings, document = parse_app(text, path, app), parse_yaml(text, path)
    written = f"lifecycle: {state}"
    if document.has(("lifecycle",)):
        lines = text.splitlines(keepends=True)
        line = lines[document.place(("lifecycle",)).line - 1]
        old = re.compile(r"""(["']?)lifecycle\1[ \t]*:[ \t]*[^\s#]*""")
        lines[document.place(("lifecycle",)).line - 1] = old.sub(written, line, count=1)
        changed = "".join(lines)
    else:
        changed = f"{text}{'' if text.endswith(chr(10)) else chr(10)}{written}\n"
    return changed if _is_same(changed, path, settings, state) else None


def _is_same(text: str, path: str, settings: AppSettings, state: AppState | None = None) -> bool:
    """Whether a text contains the same settings, with the state `state` if it is not None."""
    try:
        parsed = parse_app(text, path, settings.id)
    except ProblemsFound:
        return False
    return parsed == replace(settings, state=state or settings.state)
