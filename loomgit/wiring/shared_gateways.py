"""Shares gateways: pipeline versions with the same settings use the same gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.errors import LoomError

if TYPE_CHECKING:
    from pathlib import Path

    from loomgit.domain.ports import Gateway
    from loomgit.domain.settings import Replay
    from loomgit.gateway.budget import Budget
    from loomgit.gateway.chain import Recording
    from loomgit.gateway.reply_store import ReplyStore
    from loomgit.gateway.shared_calls import CallClaims
    from loomgit.pipeline.plan import Plan
    from loomgit.wiring.assembly import Assembly


class SharedGateways:
    """Makes one gateway for all versions with the same settings, so that they share a rate limit.

    `replay`, `budget`, `claims`, `outage` and `check_keys` are passed to `Assembly.gateway`.
    `concurrency` replaces the concurrency that pipelines define.
    """

    def __init__(
        self,
        replay: Replay = "off",
        budget: Budget | None = None,
        *,
        outage: float | None = None,
        claims: CallClaims | None = None,
        check_keys: bool = True,
        concurrency: int | None = None,
    ) -> None:
        self._replay: Replay = replay
        self._budget = budget
        self._outage = outage
        self._claims = claims
        self._check_keys = check_keys
        self._concurrency = concurrency
        self._gateways: list[tuple[object, Gateway]] = []
        self._replies: dict[Path, ReplyStore] = {}
        self._assemblies: list[Assembly] = []

    def get(self, assembly: Assembly, plan: Plan, recording: Recording | None = None) -> Gateway:
        """Return the gateway for a plan. The plan must belong to the revision of `assembly`.

        If `recording` is given, it replaces the cassette of this revision. Raises UserError if
        there is a budget but the price of a model is unknown. Raises ProblemsFound if the cassette
        is damaged.
        """
        if self._replay != "only":  # also check plans that share an open gateway
            assembly.wiring.trust.check_calls(assembly.wiring, plan)
        self._add(assembly)
        # Gateways that replay are not shared: each pipeline of each tree has its own cassette.
        cassette = None
        if self._replay != "off":
            cassette = plan.pipeline.name, assembly.wiring, recording is not None
        wanted = (assembly.wiring.store.folder, cassette, *shared_settings(assembly, plan))
        for known, gateway in self._gateways:
            if known == wanted:
                return gateway
        made = self.make(assembly, plan, recording=recording, share_replies=True)
        self._gateways.append((wanted, made))
        return made

    def make(
        self,
        assembly: Assembly,
        plan: Plan,
        *,
        recording: Recording | None = None,
        share_replies: bool = False,
    ) -> Gateway:
        """Return a new, unshared gateway for a plan. The caller closes the gateway.

        If `share_replies` is true, the new gateway uses the reply store of the shared gateways.
        """
        self._add(assembly)
        replies = None
        if share_replies:
            folder = assembly.wiring.store.folder
            if folder not in self._replies:
                self._replies[folder] = assembly.replies()
            replies = self._replies[folder]
        if self._concurrency is not None:
            transform = replace(plan.pipeline.transform, concurrency=self._concurrency)
            plan = replace(plan, pipeline=replace(plan.pipeline, transform=transform))
        return assembly.gateway(
            plan,
            replay=self._replay,
            recording=recording,
            budget=self._budget,
            check_keys=self._check_keys,
            claims=self._claims,
            replies=replies,
            outage=self._outage,
        )

    def _add(self, assembly: Assembly) -> None:
        if assembly not in self._assemblies:
            self._assemblies.append(assembly)

    async def close(self) -> None:
        """Close all shared gateways, and the workers of all programs.

        If a gateway cannot save its data, the other gateways are closed nevertheless. Raises
        LoomError after that.
        """
        fault: LoomError | None = None
        for _, gateway in self._gateways:
            try:
                await gateway.close()
            except LoomError as error:
                fault = error
        for assembly in self._assemblies:
            await assembly.close()
        if fault is not None:
            raise fault

    def save_replies(self) -> None:
        """Write the replies that the shared gateways hold in memory."""
        for replies in self._replies.values():
            replies.close()


def shared_settings(assembly: Assembly, plan: Plan) -> tuple[object, ...]:
    """Return the settings that two plans must have in common to share a gateway."""
    settings, transform = assembly.wiring.settings, plan.pipeline.transform
    models = plan.model, plan.sampling.model, plan.judge, transform.fallback_models
    return settings.models, settings.defaults, *models, transform.cache, transform.concurrency
