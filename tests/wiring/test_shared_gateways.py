"""Which pipeline versions share a gateway."""

import asyncio

import pytest

from loomgit.errors import WorldError
from loomgit.wiring.project import Wiring
from loomgit.wiring.revision import ProjectRevision
from loomgit.wiring.shared_gateways import SharedGateways
from tests.projects import PIPELINE, make_project


@pytest.fixture
def version(tmp_path):
    other = PIPELINE.replace("name: demo", "name: other")
    slow = PIPELINE.replace("name: demo", "name: slow").replace(
        "  prompt:", "  concurrency: 1\n  prompt:"
    )
    files = {"pipelines/other.yaml": other, "pipelines/slow.yaml": slow}
    project = make_project(tmp_path / "project", **files)
    revision = ProjectRevision(Wiring(project, {}, pytest.fail))
    return revision.version


def gateway(gateways, version):
    return gateways.get(version.assembly, version.plan)


def test_versions_with_the_same_settings_share_one(version):
    gateways = SharedGateways()
    first = gateway(gateways, version("demo"))
    assert gateway(gateways, version("demo")) is first
    assert gateway(gateways, version("other")) is first
    assert gateway(gateways, version("slow")) is not first


def test_with_replay_each_pipeline_has_its_own_cassette(version):
    gateways = SharedGateways("auto")
    first = gateway(gateways, version("demo"))
    assert gateway(gateways, version("demo")) is first
    assert gateway(gateways, version("other")) is not first


def test_all_are_closed_and_an_error_is_raised_at_the_end(version):
    gateways = SharedGateways()
    closed = []

    class Chain:
        def __init__(self, fault=None):
            self.fault = fault

        async def close(self):
            closed.append(self)
            if self.fault is not None:
                raise self.fault

    gateways._gateways = [(1, Chain(WorldError("disk full"))), (2, Chain())]
    with pytest.raises(WorldError, match="disk full"):
        asyncio.run(gateways.close())
    assert len(closed) == 2
