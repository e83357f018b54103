"""Every check of `quorate validate`, over plain facts, and the operation over a cluster."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePath

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.client.blocking import BlockingClient
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.states import NetworkRole, NetworkState, NodeState, NodeStatus
from quorate.cluster.validation import Loss
from quorate.database.maintenance import StoreMember, StoreStatus
from quorate.server.inspection import NodeHealth, StorageFact
from quorate.server.validation import database, groups, networks, nodes
from quorate.server.validation.checks import CHECKS, run_checks
from quorate.server.validation.facts import (
    FileFact,
    GroupFact,
    MachineFact,
    NetworkFact,
    NodeFact,
    Situation,
)
from quorate.server.validation.findings import Finding, Verdict, listed, worst

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO, THREE = (NodeId(str(number)) for number in (1, 2, 3))
ALL = frozenset({ONE, TWO, THREE})
QEMU = {"version": "10.0.0", "accelerator": "kvm", "cpu_model": "host"}
OK, WARNING, FAILED = Verdict


def health(**changes: object) -> NodeHealth:
    shared = (StorageFact("fast", "/srv/fast", shared=True), StorageFact("own", "/srv/own", shared=False))
    well = NodeHealth(0.0, "0.1.0", guard=True, certificate_expires=NOW + timedelta(days=80), storages=shared)
    return replace(well, **changes)  # type: ignore[arg-type]


def node(id_: NodeId, **changes: object) -> NodeFact:
    well = NodeFact(id_, f"node{id_}", NodeState.UP, health=health(), lease_duration=5.0, hypervisor=QEMU)
    return replace(well, **changes)  # type: ignore[arg-type]


def group(name: str, **changes: object) -> GroupFact:
    return replace(GroupFact(GroupId(name), name, ONE, wanted=True, possible=ALL), **changes)  # type: ignore[arg-type]


def members(*healthy: bool) -> tuple[StoreMember, ...]:
    leader = healthy.index(True) if True in healthy else -1
    return tuple(
        StoreMember(f"m{number}", f"10.0.0.{number}", well, number == leader, "3.4" if well else "it does not answer")
        for number, well in enumerate(healthy)
    )


STORE = StoreStatus(1, 100 << 20, 50 << 20, 2 << 30, (), members(True, True, True))
NETWORKS = tuple(NetworkFact(name, NetworkRole.INTERNAL_AND_CLIENT, NetworkState.UP, "") for name in ("LAN", "SAN"))
WELL = Situation(
    now=NOW,
    this_node="node1",
    one_machine=False,
    nodes=(node(ONE), node(TWO), node(THREE)),
    networks=NETWORKS,
    groups=(group("web1"),),
    machines=(MachineFact(group("web1"), (FileFact("fast", PurePath("web1.qcow2")),)),),
    store=STORE,
    level=10,
    losses=(Loss(ONE, "node1", 1, ()), Loss(TWO, "node2", 0, ()), Loss(THREE, "node3", 0, ())),
)
POCKET = replace(
    WELL,
    one_machine=True,
    networks=(),
    store=replace(STORE, members=()),
    nodes=tuple(node(id_, health=health(certificate_expires=None)) for id_ in (ONE, TWO, THREE)),
)


def with_node(second: NodeFact) -> Situation:
    return replace(WELL, nodes=(node(ONE), second, node(THREE)))


def verdicts(findings: tuple[Finding, ...]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


@pytest.mark.parametrize("situation", [WELL, POCKET], ids=["machines", "pocket"])
def test_a_cluster_that_is_well(situation: Situation) -> None:
    findings = run_checks(situation)
    assert worst(findings) is OK, [finding for finding in findings if finding.verdict is not OK]
    assert all(finding.sentence.endswith(".") and not finding.remedy for finding in findings)
    assert len({finding.rule for finding in findings}) == len(findings)


Check = Callable[[Situation], tuple[Finding, ...]]


@pytest.mark.parametrize(
    ("check", "situation", "verdict", "part"),
    [
        (nodes.check_up, with_node(node(TWO, state=NodeState.DOWN, health=None)), FAILED, "node2 is down"),
        (nodes.check_up, with_node(node(TWO, state=NodeState.JOINING)), FAILED, "node2 is joining"),
        (nodes.check_up, with_node(node(TWO, state=NodeState.PAUSED)), WARNING, "node2 is paused"),
        (nodes.check_up, with_node(node(TWO, health=None)), FAILED, "does not answer node1"),
        (nodes.check_up, with_node(node(TWO, status=NodeStatus.ISOLATED)), WARNING, "isolated"),
        (nodes.check_up, with_node(node(TWO, status=NodeStatus.QUARANTINED)), WARNING, "quarantined"),
        (nodes.check_clocks, with_node(node(TWO, clock_offset=1.5, clock_doubt=0.2)), WARNING, "1.3 s ahead of"),
        (nodes.check_clocks, with_node(node(TWO, clock_offset=-3600.0)), FAILED, "3600.0 s behind"),
        (nodes.check_leases, with_node(node(TWO, lease_duration=9.0)), WARNING, "lasts 9 s"),
        (nodes.check_leases, replace(WELL, lease=120.0, nodes=()), WARNING, "after 120 s"),
        (nodes.check_versions, with_node(node(TWO, health=health(version="0.2.0"))), WARNING, "node2 run 0.2.0"),
        (nodes.check_guards, with_node(node(TWO, health=health(guard=False))), FAILED, "node2 has no live guard"),
        (
            nodes.check_fencing,
            with_node(node(TWO, fence_agents=("fence_ipmilan",))),
            WARNING,
            "node1 and node3",
        ),
        (
            nodes.check_certificates,
            with_node(node(TWO, health=health(certificate_expires=NOW + timedelta(days=3)))),
            WARNING,
            "expires on 2026-11-25",
        ),
        (
            nodes.check_certificates,
            with_node(node(TWO, health=health(certificate_expires=NOW - timedelta(days=1)))),
            FAILED,
            "expired on",
        ),
        (
            nodes.check_hypervisors,
            with_node(node(TWO, hypervisor={**QEMU, "accelerator": "tcg"})),
            WARNING,
            "node2: tcg",
        ),
        (
            nodes.check_hypervisors,
            with_node(node(TWO, hypervisor={**QEMU, "version": "9.2.0"})),
            WARNING,
            "node2: 9.2.0",
        ),
        (database.check_database, replace(WELL, store=None, store_trouble="it is gone"), FAILED, "it is gone"),
        (database.check_database, replace(WELL, store=replace(STORE, alarms=("no space",))), FAILED, "no space"),
        (database.check_database, replace(WELL, store=replace(STORE, size_bytes=1900 << 20)), WARNING, "93 % of"),
        (
            database.check_members,
            replace(WELL, store=replace(STORE, members=members(True, True, False))),
            WARNING,
            "m2",
        ),
        (database.check_members, replace(WELL, store=replace(STORE, members=members(True))), WARNING, "1 member;"),
        (database.check_members, replace(WELL, store=replace(STORE, members=())), FAILED, "a file of this machine"),
        (
            networks.check_states,
            replace(WELL, networks=(replace(NETWORKS[0], state=NetworkState.PARTITIONED, sentence="x"), NETWORKS[1])),
            WARNING,
            "LAN is partitioned: x",
        ),
        (
            networks.check_states,
            replace(WELL, networks=(replace(NETWORKS[0], state=NetworkState.DOWN, sentence="x"), NETWORKS[1])),
            FAILED,
            "LAN is down: x",
        ),
        (networks.check_number, replace(WELL, networks=NETWORKS[:1]), WARNING, "1 network between"),
        (
            networks.check_number,
            replace(WELL, networks=(NETWORKS[0], replace(NETWORKS[1], role=NetworkRole.NONE))),
            WARNING,
            "1 network between",
        ),
        (
            groups.check_n_plus_one,
            replace(WELL, losses=(Loss(ONE, "node1", 1, ("web1 stays: no memory.",)),)),
            WARNING,
            "If node1 were lost, 1 group would not run: web1 stays: no memory.",
        ),
        (groups.check_owners, replace(WELL, groups=(group("web1", possible=frozenset()),)), FAILED, "can run nowhere"),
        (
            groups.check_owners,
            replace(with_node(node(TWO, state=NodeState.DOWN)), groups=(group("web1", possible=frozenset({TWO})),)),
            FAILED,
            "(node2) none is up",
        ),
        (groups.check_owners, replace(WELL, groups=(group("web1", possible=frozenset({TWO})),)), WARNING, "node2 only"),
        (
            groups.check_owners,
            replace(WELL, groups=(group("web1", possible=frozenset({ONE, TWO}), preferred=(THREE, ONE)),)),
            WARNING,
            "web1 prefers node3",
        ),
        (
            groups.check_anti_affinity,
            replace(WELL, groups=(group("a", classes=frozenset({"db"})), group("b", classes=frozenset({"db"})))),
            WARNING,
            "both are on node1",
        ),
        (
            groups.check_anti_affinity,
            replace(WELL, groups=tuple(group(name, classes=frozenset({"db"})) for name in "abcd")),
            WARNING,
            "a, b, c and d shall be apart (db), and may run on 3 nodes",
        ),
        (
            groups.check_anti_affinity,
            replace(
                WELL,
                enforced_anti_affinity=True,
                groups=tuple(group(name, classes=frozenset({"db"})) for name in "abcd"),
            ),
            FAILED,
            "one of them stays offline",
        ),
        (
            groups.check_disks,
            replace(WELL, machines=(MachineFact(group("web1"), (FileFact("own", PurePath("x.qcow2")),)),)),
            WARNING,
            "web1 cannot fail over: x.qcow2 of storage own",
        ),
        (
            groups.check_disks,
            replace(WELL, machines=(MachineFact(group("web1"), (FileFact("", PurePath("/home/x.qcow2")),)),)),
            WARNING,
            "/home/x.qcow2",
        ),
        (
            groups.check_disks,
            replace(WELL, machines=(MachineFact(group("web1"), unreadable="memory: is missing"),)),
            FAILED,
            "memory: is missing",
        ),
    ],
)
def test_what_is_not_well(check: Check, situation: Situation, verdict: Verdict, part: str) -> None:
    findings = check(situation)
    assert verdicts(findings) == [verdict]
    (finding,) = findings
    assert part in finding.sentence
    assert finding.remedy
    assert finding.sentence.endswith(".")
    assert finding.measured
    assert check in CHECKS


def test_a_path_below_a_shared_storage_is_shared() -> None:
    files = (FileFact("", PurePath("/srv/fast/a/x.qcow2")), FileFact("fast", PurePath("y.qcow2")))
    machine = MachineFact(group("web1", possible=frozenset({ONE, TWO})), files)
    assert verdicts(groups.check_disks(replace(WELL, machines=(machine,)))) == [OK]
    without = with_node(node(TWO, health=health(storages=())))
    assert verdicts(groups.check_disks(replace(without, machines=(machine,)))) == [WARNING]


def test_fencing_everywhere_or_nowhere_is_well() -> None:
    fenced = tuple(node(id_, fence_agents=("fence_virsh",)) for id_ in (ONE, TWO, THREE))
    (finding,) = nodes.check_fencing(replace(WELL, nodes=fenced))
    assert (finding.verdict, finding.measured) == (OK, "fence_virsh")


def test_members_without_a_leader_are_a_failure() -> None:
    lost = replace(STORE, members=members(False, False, False))
    assert FAILED in verdicts(database.check_members(replace(WELL, store=lost)))


def test_words() -> None:
    assert (listed([]), listed(["a"]), listed(["a", "b"]), listed("abc")) == ("", "a", "a and b", "a, b and c")
    assert worst(()) is OK


def test_health_survives_the_way_between_nodes() -> None:
    told = health(time=1.5)
    assert NodeHealth.from_json(told.to_json()) == told
    assert NodeHealth.from_json(NodeHealth(1.0, "1").to_json()) == NodeHealth(1.0, "1")
    assert NodeHealth.from_json({}) is None, "an older node says nothing"


# --- The operation -------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path_factory.mktemp("validation"), 2) as world:
        yield world


def validated(world: FakeWorld) -> tuple[str, dict[str, tuple[str, str]]]:
    client = BlockingClient.at(str(world.directory))
    answer = client.call("Validate", full_access=False)
    found = {str(one["rule"]): (str(one["verdict"]), str(one["sentence"])) for one in answer.objects("findings")}
    return answer.text("verdict"), found


def test_a_fake_cluster_is_validated_by_anybody_who_may_read(world: FakeWorld) -> None:
    client = BlockingClient.at(str(world.directory))
    definition: JsonObject = {"name": "web1", "memory": "64M", "schema": 1, "disks": [{"volume": "/srv/x.qcow2"}]}
    client.call("CreateVirtualMachine", name="web1", definition=definition, node="node1")
    verdict, found = validated(world)
    assert verdict == "ok", found
    assert found["shared storage"][0] == "ok"


def test_what_other_nodes_say_is_heard(world: FakeWorld) -> None:
    world.health[TWO] = NodeHealth(time.time() + 100, "9.9", guard=False)
    verdict, found = validated(world)
    assert verdict == "failed"
    assert (found["guards"][0], found["clocks"][0], found["versions"][0]) == ("failed", "failed", "warning")
    assert "node2 is 10" in found["clocks"][1] or "ahead" in found["clocks"][1]
    world.down.add(TWO)
    verdict, found = validated(world)
    assert (verdict, found["nodes up"]) == ("failed", ("failed", "node2 is down; nothing runs there."))
    assert found["guards"][0] == "ok", "nobody asks a dead node"
