"""The settings of a project, from `.loom/config.yaml`.

They include connections, defaults, models, hooks, alert channels, the baseline and the store.
"""

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
    """Text with `${NAME}` references to environment variables.

    Loom reads the variables when it uses the text. `str()` returns the text with the references and
    never a value, so it is safe in errors and logs.
    """

    template: str
    place: Place

    def __str__(self) -> str:
        return self.template

    @property
    def source(self) -> str:
        """The source of the value, as messages show it.

        This is the text with its references. If the text has no references, it is the position of
        the text in the settings file.
        """
        return self.template if "${" in self.template else str(self.place)


class ConnectionSettings(Struct, frozen=True):
    """The settings of a connection: the URL of a database, with references to variables.

    `loom_schema` is the schema of Loom's own tables. None means the schema in the address, or the
    first schema of the search path.
    """

    url: Secret
    loom_schema: str | None = None


class Connection(Struct, frozen=True):
    """A connection with the values of its variables. Its URL may contain a password."""

    url: str
    loom_schema: str | None = None


class ModelSettings(Struct, frozen=True):
    """The settings of a model. Prices are in USD per million tokens. `timeout` is in seconds."""

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
    """The values for pipelines that do not set these options. `concurrency=None` means `auto`."""

    model: str = EMBEDDED_MODEL
    judge_model: str | None = None
    concurrency: int | None = None
    cache: bool = True
    store: str | None = None


class Settings(Struct, frozen=True):
    """The settings of a project. Every setting has a default, so the settings file is optional.

    `hooks_budget` is in USD, for one push or commit. Texts in `channels` may contain `${NAME}`
    references. `places` maps dotted keys (`channels.slack.url`) to their positions in the file.
    Each `Secret` also stores its position in the file.
    """

    connections: Mapping[str, ConnectionSettings] = field(default_factory=dict)
    defaults: Defaults = field(default_factory=Defaults)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    channels: Mapping[str, JsonMapping] = field(default_factory=dict)
    baseline: str | None = None
    store: Literal["local", "tracked"] = "local"
    hooks_budget: float | None = None
    accept_from: Literal["anyone", "others"] = "anyone"
    places: Places = field(default_factory=Places)
