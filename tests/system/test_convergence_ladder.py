"""Guests that dirty memory faster than the link carries it: held back and moved, or left where they are, by policy.

The link is MigrationBandwidthLimit: 128 MiB/s, QEMU's own default, under which such a guest never converges.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.system.start_cancel_rig import start
from tests.waiting import slowness

from quorate.client.functions import OpenCluster, OpenClusterResource
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES
from quorate.clusapi.json_types import JsonObject, json_float, json_int, json_text
from quorate.clusapi.migration_input import pack_destination
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.clusapi.states import MigrationState
from quorate.hypervisor.serial_watch import SerialWatch

MIB: Final = 1 << 20
NODES: Final = ("node1", "node2")
LINK: Final = 128
"""MiB/s."""
GUEST: Final = {"fill_bytes": 64 * MIB, "dirty_bytes": 128 * MIB, "dirty_bytes_per_second": 300_000_000}


@dataclass(frozen=True, slots=True)
class Rig:
    """A guest that outruns the link, and who listens to it."""

    cluster: PocketCluster
    watch: SerialWatch

    def begin(self, policy: str) -> None:
        vm = OpenClusterResource(OpenCluster(str(self.cluster.directory)), "Virtual Machine busy")
        other = next(node for node in NODES if node != self.cluster.owner("busy"))
        assert start(vm, pack_destination(other, policy)) == 0

    def set_own(self, name: str, value: int) -> None:
        """Set a private property of the virtual machine."""
        data = pack_property_list(PropertyList.of([(name, PropertyFormat.DWORD, value)]))
        resource = json_text(self.cluster.vm("busy"), "vm_resource")
        code = CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES
        answer = self.cluster.call("ResourceControl", resource=resource, control_code=code, in_buffer=data)
        assert answer.number("status") == 0

    def outcome(self, number: int) -> JsonObject:
        """What is kept of the last move, once so many are over and both ends have told."""
        found: list[JsonObject] = []

        def told() -> bool:
            found[:] = self.cluster.call("ListMigrations", vm="busy").objects("migrations")
            return len(found) >= number and (json_text(found[-1], "result") != "moved" or bool(found[-1]["gap_ms"]))

        self.cluster.wait(told, 60, f"the end of move {number}: {found}")
        return found[-1]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with pocket_cluster(tmp_path, len(NODES), lease=60) as cluster:
        cluster.set_cluster("MigrationBandwidthLimit", LINK)
        cluster.create_builtin("busy", "256M", start=True, **GUEST)
        with SerialWatch(*(cluster.serial_log("busy", node) for node in NODES), poll=0.004) as watch:
            assert watch.wait_beats(20, 60)
            yield Rig(cluster, watch)


def test_by_policy_it_stays_and_runs_on_or_is_held_back_and_arrives_within_the_gap_limit(rig: Rig) -> None:
    rig.begin("gentle")
    stayed = rig.outcome(1)
    assert json_text(stayed, "result") == "failed"
    sentence = json_text(stayed, "sentence")
    assert sentence.startswith("will not converge: the guest dirties ")
    assert "with its processors not held back" in sentence
    assert "policy gentle); policy default may hold its processors back by 96 %" in sentence
    assert json_int(stayed, "passes") <= 3 + 3
    assert rig.cluster.owner("busy") == "node1"
    assert rig.watch.wait_beats(50, 60)

    rig.begin("")
    moved = rig.outcome(2)
    assert json_text(moved, "result") == "moved", moved
    assert (json_text(moved, "policy"), json_float(moved, "gap_limit_ms")) == ("default", 300.0)
    assert json_int(moved, "throttle") in (60, 90, 96)
    assert json_float(moved, "gap_ms") <= json_float(moved, "gap_limit_ms") * slowness()
    assert rig.cluster.owner("busy") == "node2"
    assert rig.watch.wait_beats(50, 60)
    assert rig.cluster.migration_state("busy") == MigrationState.NO_MIGRATION

    rig.set_own("MigrationThrottleLimit", 0)
    rig.begin("must-move")
    paused = rig.outcome(3)
    assert (json_text(paused, "result"), json_int(paused, "throttle")) == ("moved", 0), paused
    assert json_float(paused, "gap_ms") > json_float(paused, "gap_limit_ms")
    assert rig.cluster.owner("busy") == "node1"
    assert rig.watch.wait_beats(50, 60)
    assert rig.watch.report().continuous
