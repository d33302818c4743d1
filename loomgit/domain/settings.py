"""`.loom/config.yaml` as values: connections, defaults, models, hooks, channels, baseline,
store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from loomgit.domain.place import Place, Places
from loomgit.domain.values import JsonMapping

Lane = Literal["direct", "litellm", "embedded"]
Replay = Literal["off", "auto", "only", "record"]
EMBEDDED_MODEL = "embedded/icl"


class Secret(Struct, frozen=True):
    """Text with `${NAME}` references, read from the environment at the moment of use.

    It shows its template and never a value, so it may stand in an error or a log.
    """

    template: str
    place: Place

    def __str__(self) -> str:
        return self.template

    @property
    def source(self) -> str:
        """Where the value comes from; of one that is written out, where it stands."""
        return self.template if "${" in self.template else str(self.place)


class ModelSettings(Struct, frozen=True):
    """What the project says of one model. Prices are USD per million tokens, `timeout` seconds."""

    base_url: Secret | None = None
    api_key: Secret | None = None
    lane: Lane | None = None
    input_price: float | None = None
    output_price: float | None = None
    cached_input_price: float | None = None
    price_as: str | None = None
    rpm: int | None = None
    tpm: int | None = None
    timeout: float | None = None
    max_output_tokens: int | None = None


class Defaults(Struct, frozen=True):
    """What a pipeline that is silent gets; `concurrency` None means `auto`."""

    model: str = EMBEDDED_MODEL
    judge_model: str | None = None
    concurrency: int | None = None
    cache: bool = True
    store: str | None = None


class Settings(Struct, frozen=True):
    """The project's configuration; all of it has defaults, so a project needs no such file.

    `hooks_budget` is in USD, for one push or commit. Texts in `channels` may hold `${NAME}`
    references; `places` maps dotted keys (`channels.slack.url`) to where they stand, so that a
    `Secret` can be made of one.
    """

    connections: Mapping[str, Secret] = field(default_factory=dict)
    defaults: Defaults = field(default_factory=Defaults)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    channels: Mapping[str, JsonMapping] = field(default_factory=dict)
    baseline: str | None = None
    store: Literal["local", "tracked"] = "local"
    hooks_budget: float | None = None
    accept_from: Literal["anyone", "others"] = "anyone"
    places: Places = field(default_factory=Places)
