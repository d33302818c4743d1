"""The settings of a project, from `.loom/config.yaml`.

They include connections, defaults, targets, models, hooks, alert channels, the baseline and the
store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.domain.place import Place, Places
from loomgit.domain.suggestions import did_you_mean
from loomgit.domain.values import JsonMapping
from loomgit.errors import UnknownTarget

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


class Target(Struct, frozen=True):
    """A target, such as `dev` or `prod`: settings that replace those of the whole project.

    `connections` and `defaults` are complete: they contain the values of the target, and the values
    of the project for all other aliases and keys. `budget` is the maximum cost of a run in USD;
    None means no maximum.
    """

    connections: Mapping[str, ConnectionSettings] = field(default_factory=dict)
    defaults: Defaults = field(default_factory=Defaults)
    budget: float | None = None
    production: bool = False


class Settings(Struct, frozen=True):
    """The settings of a project. Every setting has a default, so the settings file is optional.

    `targets` maps names to targets, in the order of the file. If a target is selected, `target` is
    its name, and `connections`, `defaults` and `budget` are those of the target. `budget` is the
    maximum cost of a run in USD.

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
    targets: Mapping[str, Target] = field(default_factory=dict)
    target: str | None = None
    budget: float | None = None

    @property
    def default_target(self) -> str | None:
        """The name of the first target, or None if there are no targets."""
        return next(iter(self.targets), None)

    def run_budget(self, cost_budget: float | None) -> float | None:
        """Return the lower of the target's budget and a pipeline's `monitoring.cost_budget`.

        Both are in USD. The result is None if there is no budget.
        """
        known = [limit for limit in (self.budget, cost_budget) if limit is not None]
        return min(known, default=None)

    def with_target(self, name: str | None) -> Settings:
        """Return the settings with a selected target. If `name` is None, no target is selected.

        Raises UnknownTarget if there is no such target.
        """
        if name is None:
            return self
        if name not in self.targets:
            if not self.targets:
                raise UnknownTarget(
                    f"there is no target '{name}': .loom/config.yaml has no targets",
                    hint="add `targets:` to .loom/config.yaml, or omit --target and LOOM_TARGET",
                )
            names = ", ".join(self.targets)
            raise UnknownTarget(
                f"there is no target '{name}': .loom/config.yaml has {names}",
                hint=did_you_mean(name, self.targets),
            )
        target = self.targets[name]
        return replace(
            self,
            target=name,
            connections=target.connections,
            defaults=target.defaults,
            budget=target.budget,
        )
