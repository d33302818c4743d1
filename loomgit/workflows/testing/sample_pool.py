"""Draws the samples of one test session, with one queue, one budget and shared gateways."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from loomgit.errors import Denied
from loomgit.harness.sample_queue import SampleQueue
from loomgit.wiring.assembly import AUTO_CONCURRENCY
from loomgit.wiring.shared_gateways import SharedGateways
from loomgit.workflows.testing.session_budget import BilledGateway, SessionBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loomgit.domain.bills import Bill
    from loomgit.domain.ports import Gateway
    from loomgit.domain.samples import Sample
    from loomgit.gateway.budget import Budget
    from loomgit.harness.draws import Draw, Name
    from loomgit.harness.overrides import Options
    from loomgit.history.shared_draws import SharedDraws
    from loomgit.wiring.revision import PipelineVersion


class SamplePool:
    """Draws the samples for the tests of all projects in a session.

    `workers` is the number of processes. They share the draws and the budget through
    `shared_draws`. If `budget` is given, it replaces the budget in `options`. The caller may pay
    other calls from the same budget. `samples` are the samples that tests have taken. `waited` is
    the time in seconds that tests waited for samples.
    """

    def __init__(
        self,
        options: Options,
        shared_draws: SharedDraws | None = None,
        *,
        workers: int = 1,
        budget: Budget | None = None,
    ) -> None:
        self._options = options
        self._shared_draws = shared_draws
        self._workers = workers
        self._session_budget = SessionBudget(options.budget, shared_draws, workers)
        self._gateways = SharedGateways(
            options.replay,
            budget or self._session_budget.budget,
            outage=options.outage,
            claims=shared_draws,
            check_keys=False,
            concurrency=options.concurrency,
        )
        self._earlier: dict[str, dict[int, Sample]] = {}
        self._queue: SampleQueue | None = None
        self.samples: dict[Name, Sample] = {}
        self.waited = 0.0

    @property
    def bills(self) -> dict[tuple[str, str], Bill]:
        """The bills of this process by (project, pipeline).

        Empty if `shared_draws` is given, because the bills are then in the shared file.
        """
        return self._session_budget.bills

    def billed(self, gateway: Gateway, version: PipelineVersion) -> Gateway:
        """Return a gateway that adds the costs of its calls to the bill of the version's
        pipeline."""
        project = str(version.assembly.wiring.root)
        payer = self._session_budget.payer(project, version.plan.pipeline.name)
        return BilledGateway(gateway, payer)

    def gateway(self, version: PipelineVersion, today: PipelineVersion | None = None) -> Gateway:
        """Return the gateway to the model and the judge of a version.

        If `version` is a baseline that is measured again, `today` is the current version. The
        gateway then uses the cassette of `today`. During replay, a reply that is missing there is
        looked up in the cassette of the baseline's own tree. Raises UserError if there is a budget
        and a model's price is unknown. Raises ProblemsFound if a cassette is damaged.
        """
        recording = None
        if today is not None and self._options.replay != "off":
            recorded = version.assembly.recorded(version.plan)
            recording = today.assembly.recording(today.plan, self._options.replay, recorded)
        return self._gateways.get(version.assembly, version.plan, recording)

    def hold(self, samples: Mapping[str, Mapping[int, Sample]]) -> None:
        """Use samples of earlier runs instead of new draws. `samples` maps case keys to mappings
        from index to sample."""
        for key, by_index in samples.items():
            self._earlier.setdefault(key, {}).update(by_index)

    def start(self, draws: Sequence[Draw], concurrency: int) -> None:
        """Start these draws in order, with at most `concurrency` draws at the same time."""
        queue = self._open(concurrency)
        queue.plan(draws)
        queue.start()

    def take(self, draw: Draw) -> Sample:
        """Wait for the sample of a draw, and return it."""
        began = time.perf_counter()
        sample = self._open().take(draw)
        self.waited += time.perf_counter() - began
        shared = self._shared_draws
        if shared is not None and sample.reused and draw.name not in self.samples:
            shared.show(draw.name, sample)
        self.samples[draw.name] = sample
        return sample

    def seconds(self, name: Name) -> float:
        """Return the duration of a draw in seconds. It is 0 for a sample of an earlier run."""
        assert self._queue is not None
        sample = self.samples[name]
        if sample.reused:
            return 0.0
        return self._queue.seconds(name) or sample.latency or 0.0

    def open_separately(self) -> Callable[[PipelineVersion], Gateway]:
        """Return a function that opens a gateway for the run of a pipeline.

        The gateway uses the stored replies and the budget of this pool, but is closed by the run.
        The function raises Denied if it is known that the model cannot be called.
        """
        queue = self._open()
        queue.apply(self._gateways.save_replies)

        def open_gateway(version: PipelineVersion) -> Gateway:
            reason = queue.outage(party_of(version))
            if reason:
                raise Denied(reason)
            return self.billed(self._gateways.make(version.assembly, version.plan), version)

        return open_gateway

    @property
    def unanswered(self) -> Literal["denied", "lost"]:
        """The reason why replies are missing: `denied` (a key is missing or refused) or `lost`
        (calls failed)."""
        is_denied = self._queue is not None and self._queue.denied is not None
        return "denied" if is_denied else "lost"

    def close(self, *, wait: bool = True) -> None:
        """Start no more draws. If `wait` is true, wait until the current draws have finished.

        Raises LoomError if a recording could not be saved.
        """
        if self._queue is not None:
            self._queue.close(wait=wait)

    def _open(self, concurrency: int = AUTO_CONCURRENCY) -> SampleQueue:
        if self._queue is None:
            wanted = self._options.concurrency or concurrency
            self._queue = SampleQueue(
                concurrency=max(1, wanted // self._workers),
                find_known=self._find_earlier,
                closing=[self._gateways.close],
                board=self._shared_draws,
            )
        return self._queue

    def _find_earlier(self, names: Sequence[Name]) -> dict[Name, Sample]:
        earlier = self._earlier
        return {(k, i): earlier[k][i] for k, i in names if i in earlier.get(k, {})}


def party_of(version: PipelineVersion) -> str:
    """Return the name of the model that a version's draws call, which is their `party`.

    If the model has an outage, all draws of the party stop.
    """
    return version.plan.sampling.model
