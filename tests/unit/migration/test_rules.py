"""Every rule of the preflight: when it holds, warns and refuses, and what it says then."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.host_sight import FileSight, GuestSight, HostSight, NetworkSight
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState, VmState
from quorate.clusapi.status import Status
from quorate.migration.host_rules import HOST_RULES, HostQuestion, judge_host, judge_room
from quorate.migration.machine_rules import MACHINE_RULES, MachineState, judge_machine
from quorate.migration.migration_networks import LeftOut
from quorate.migration.path_rules import PathSight, judge_answer, judge_clock, judge_path
from quorate.migration.preflight import NODE_RULES, Candidate, judge_node
from quorate.migration.rules import Finding, Verdict, first_refusal, require

MIB, GIB = 1 << 20, 1 << 30
OK, WARNS, REFUSES = Verdict.OK, Verdict.WARNS, Verdict.REFUSES


def the_only_one_not_ok(findings: tuple[Finding, ...]) -> Finding | None:
    """Of a case that differs from a good one in one thing, one rule at most complains."""
    found = [finding for finding in findings if finding.verdict is not OK]
    assert len(found) <= 1, found
    return found[0] if found else None


# --- the node --------------------------------------------------------------------------------------------------------

NODE = Candidate(NodeId("2"), "node2", NodeState.UP, isolated=False, possible_owner=True)
NODES: Mapping[str, tuple[Candidate, str, int, str]] = {
    "down": (replace(NODE, state=NodeState.DOWN), "node up", 5050, "start"),
    "joining": (replace(NODE, state=NodeState.JOINING), "node up", 5050, "start"),
    "paused": (replace(NODE, state=NodeState.PAUSED), "not paused", 5070, "quorate node resume node2"),
    "drained": (replace(NODE, state=NodeState.PAUSED, draining=True), "not paused", 5070, "resume"),
    "isolated": (replace(NODE, isolated=True), "not isolated", 5984, "database"),
    "quarantined": (replace(NODE, quarantined=True), "not quarantined", 5985, "resume"),
    "no owner": (replace(NODE, possible_owner=False), "possible owner", 5071, "possible owner"),
    "apart": (replace(NODE, conflict="db2", enforced=True), "anti-affinity", 5971, "quorate group move db2"),
}


@pytest.mark.parametrize("case", NODES)
def test_a_node_is_ruled_out(case: str) -> None:
    candidate, rule, status, remedy = NODES[case]
    finding = the_only_one_not_ok(judge_node(candidate))
    assert finding is not None
    assert (finding.rule, finding.verdict, finding.status) == (rule, REFUSES, status)
    assert "node2" in finding.sentence
    assert remedy in finding.remedy
    assert isinstance(finding.error(), RefusalError)


def test_every_rule_about_a_good_node_holds_and_says_what_was_measured() -> None:
    findings = judge_node(NODE)
    assert len(findings) == len(NODE_RULES)
    assert all(finding.verdict is OK and finding.measured and not finding.status for finding in findings)


def test_anti_affinity_that_is_not_enforced_only_warns() -> None:
    finding = the_only_one_not_ok(judge_node(replace(NODE, conflict="db2")))
    assert finding is not None
    assert (finding.verdict, finding.status, "db2" in finding.sentence) == (WARNS, 0, True)


def test_a_node_with_several_faults_tells_all_of_them_in_order() -> None:
    worst = replace(NODE, state=NodeState.PAUSED, isolated=True, quarantined=True, possible_owner=False)
    refused = [finding.status for finding in judge_node(worst) if finding.is_refusal]
    assert refused == [5070, 5984, 5985, 5071]
    assert "being drained" in judge_node(replace(worst, draining=True))[1].measured


# --- the virtual machine ---------------------------------------------------------------------------------------------

RUNNING = MachineState("web1", "node1", VmState.RUNNING)
MACHINES: Mapping[str, tuple[MachineState, str, int, str]] = {
    "busy": (replace(RUNNING, busy=True), "at rest", 5023, "something is being done to it"),
    "moving": (replace(RUNNING, moving_to="node2"), "not moving", 5023, "to node2 already"),
    "moving, and busy with it": (replace(RUNNING, busy=True, moving_to="node2"), "not moving", 5023, "to node2"),
    "off": (replace(RUNNING, state=VmState.OFF), "running", 5023, "off on node1"),
    "paused": (replace(RUNNING, state=VmState.PAUSED), "running", 5023, "paused on node1"),
    "queued": (replace(RUNNING, queued="web1 waits in the queue"), "not in the queue", 5023, "waits in the queue"),
    "locked": (replace(RUNNING, locked=True), "not locked", 5960, "LockedFromMoving"),
}


@pytest.mark.parametrize("case", MACHINES)
def test_a_machine_cannot_be_moved(case: str) -> None:
    machine, rule, status, words = MACHINES[case]
    finding = the_only_one_not_ok(judge_machine(machine))
    assert finding is not None
    assert (finding.rule, finding.verdict, finding.status) == (rule, REFUSES, status)
    assert words in finding.sentence
    assert "web1" in finding.remedy


def test_a_machine_that_runs_can_be_moved() -> None:
    assert [finding.verdict for finding in judge_machine(RUNNING)] == [OK] * len(MACHINE_RULES)


# --- the host --------------------------------------------------------------------------------------------------------

DISK = FileSight(
    "/srv/web1.qcow2",
    "default:/srv/web1.qcow2",
    machine="boot-a",
    device=7,
    inode=70,
    file_system="nfs4",
    virtual_size=GIB,
    locks=True,
)
THERE = replace(DISK, lock_seen=True)
HERE = replace(DISK, path="/mnt/web1.qcow2", machine="boot-b", device=9, lock_seen=True)
HOST = HostSight(
    kind="qemu",
    version=(10, 0, 2),
    accelerator="kvm",
    machine_types=frozenset({"pc-q35-9.2", "pc-q35-10.0"}),
    memory_free=8 * GIB,
    overhead=64 * MIB,
    cpu_features=frozenset({"sse2", "aes", "avx2"}),
    networks=(NetworkSight("bridge br0"),),
    files=(HERE,),
    huge_pages={2 * MIB: 256 * MIB},
)
GUEST = GuestSight(version=(10, 0, 0), cpu_features=frozenset({"sse2", "aes"}), files=(THERE,))
GOOD = HostQuestion("web1", "pc-q35-10.0", "kvm", GIB, HOST, GUEST, moves=True)


def host(**changes: object) -> HostQuestion:
    return replace(GOOD, host=replace(HOST, **changes))  # type: ignore[arg-type]


def guest(**changes: object) -> HostQuestion:
    return replace(GOOD, guest=replace(GUEST, **changes))  # type: ignore[arg-type]


def disk(here: FileSight = HERE, there: FileSight = THERE) -> HostQuestion:
    return replace(GOOD, host=replace(HOST, files=(here,)), guest=replace(GUEST, files=(there,)))


HOSTS: Mapping[str, tuple[HostQuestion, str, int, str]] = {
    "no KVM": (host(accelerator="tcg"), "accelerator", 5953, "under KVM"),
    "an unknown machine type": (replace(GOOD, machine_type="pc-q35-10.1"), "machine type", 5953, "QEMU 10.0.2"),
    "an older QEMU": (guest(version=(10, 1, 0)), "version", 5953, "the same release or a newer one"),
    "an older QEMU of an older series": (guest(version=(11, 0, 0)), "version", 5953, "10.0.2"),
    "a QEMU that loses writes": (host(loses_writes=True), "writes are kept", 5953, "lose guest writes"),
    "features that are not there": (
        guest(cpu_features=frozenset({"sse2", "avx512f", "amx-tile"})),
        "CPU features",
        5953,
        "amx-tile, avx512f",
    ),
    "no UEFI": (host(lacks_firmware=True), "firmware", 5953, "OVMF"),
    "no bridge": (
        host(networks=(NetworkSight("bridge br0", trouble="which this host does not have"),)),
        "networks",
        5953,
        "the bridge br0, which this host does not have",
    ),
    "a device that is passed through": (guest(blocked=("0000:03:00.0: VFIO",)), "devices", 5953, "0000:03:00.0"),
    "no huge pages": (guest(huge_page=2 * MIB), "huge pages", 5957, "512 huge pages of 2 MiB here, 128 are free"),
    "huge pages of another size": (guest(huge_page=GIB), "huge pages", 5957, "1 huge pages of 1024 MiB here, 0"),
    "too little memory": (host(memory_free=GIB), "free memory", 5957, "needs 1088 MiB here, 1024 MiB are free"),
    "a disk that is missing": (
        disk(FileSight("/srv/web1.qcow2", trouble="which this host does not have")),
        "disks",
        5953,
        "needs /srv/web1.qcow2, which this host does not have",
    ),
    "a kernel that is missing": (
        disk(FileSight("/srv/vmlinuz", is_disk=False, trouble="which this host does not have")),
        "files",
        5953,
        "/srv/vmlinuz",
    ),
    "another disk of another size": (disk(replace(HERE, virtual_size=2 * GIB)), "disks", 5953, "2147483648 bytes"),
    "another file on this kernel, whatever its path": (
        disk(replace(HERE, machine="boot-a", inode=71, lock_seen=False)),
        "disks",
        5953,
        "inode 71, not 70",
    ),
    "a file of its own on each machine": (
        disk(replace(HERE, file_system="ext4", lock_seen=False), replace(THERE, file_system="ext4")),
        "disks",
        5953,
        "ext4, which no two machines share",
    ),
}


@pytest.mark.parametrize("case", HOSTS)
def test_a_host_cannot_take_it(case: str) -> None:
    question, rule, status, words = HOSTS[case]
    finding = the_only_one_not_ok(judge_host(question))
    assert finding is not None
    assert (finding.rule, finding.verdict, finding.status) == (rule, REFUSES, status)
    assert words in finding.sentence
    assert finding.remedy
    with pytest.raises(RefusalError) as refused:
        require(judge_host(question))
    assert (refused.value.status, refused.value.sentence) == (status, finding.sentence)


FINE: Mapping[str, HostQuestion] = {
    "all is well": GOOD,
    "a newer QEMU": guest(version=(9, 2, 4)),
    "the same release": guest(version=(10, 0, 9)),
    "TCG anywhere": replace(GOOD, accelerator="tcg"),
    "no disk, no card": host(files=(), networks=()),
    "a lock that proves the file, whatever its numbers": disk(replace(HERE, machine="boot-a", inode=71)),
    "a lock that proves the file on a local file system": disk(replace(HERE, file_system="xfs")),
    "a guest that is off, of which nobody has a lock": disk(
        replace(HERE, lock_seen=False), replace(THERE, lock_seen=False)
    ),
    "an older node that tells nothing of its files": disk(there=FileSight("/other")),
    "huge pages enough": replace(guest(huge_page=2 * MIB), memory=256 * MIB),
    "its process is here already": replace(host(memory_free=0), needs_memory=False),
    "a start, of which nobody knows what its guest will see": replace(GOOD, guest=GuestSight(), moves=False),
}


@pytest.mark.parametrize("case", FINE)
def test_a_host_can_take_it(case: str) -> None:
    findings = judge_host(FINE[case])
    assert the_only_one_not_ok(findings) is None
    assert len(findings) == len(HOST_RULES)
    assert all(finding.measured for finding in findings)


DOUBTS: Mapping[str, tuple[HostQuestion, str, str]] = {
    "a lock that is not seen": (disk(replace(HERE, lock_seen=False)), "disks", "is not seen on this host"),
    "no locks at all": (disk(replace(HERE, locks=False, lock_seen=None)), "disks", "cannot be locked"),
    "a copy that is only read": (
        disk(replace(HERE, read_only=True, inode=71, machine="boot-a", lock_seen=False)),
        "disks",
        "inode 71",
    ),
    "a bridge that is down": (host(networks=(NetworkSight("bridge br0", doubt="it is down"),)), "networks", "down"),
    "features that nobody knows": (host(cpu_features=None), "CPU features", "not known"),
    "a guest that nobody has asked": (guest(cpu_features=None), "CPU features", "the guest's"),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_a_doubt_is_told_and_stands_in_nobodys_way(case: str) -> None:
    question, rule, words = DOUBTS[case]
    finding = the_only_one_not_ok(judge_host(question))
    assert finding is not None
    assert (finding.rule, finding.verdict, finding.status) == (rule, WARNS, 0)
    assert words in finding.sentence
    require(judge_host(question))


def test_what_is_incompatible_is_said_before_what_is_too_small() -> None:
    question = replace(GOOD, machine_type="pc-q35-11.0", host=replace(HOST, memory_free=0))
    assert [finding.status for finding in judge_host(question) if finding.is_refusal] == [5953, 5957]


@pytest.mark.parametrize(("committed", "verdict"), [(0, OK), (1024, OK), (1025, REFUSES)])
def test_room_among_what_was_promised_to_others(committed: int, verdict: Verdict) -> None:
    finding = judge_room("web1", GIB, committed * MIB, 2 * GIB, "node2 is full")
    assert finding.verdict is verdict
    assert finding.status == (5957 if verdict is REFUSES else 0)
    assert finding.sentence == ("web1 does not fit: node2 is full" if verdict is REFUSES else "")


# --- the way ---------------------------------------------------------------------------------------------------------

WAY = PathSight("node2", "", 0.002, "10.0.0.2 port 40001", 0.0004, "", 0.1, 0.001)
WAYS: Mapping[str, tuple[Callable[[PathSight], Finding], PathSight, Verdict, int, str]] = {
    "an answer": (judge_answer, WAY, OK, 0, ""),
    "no answer": (judge_answer, replace(WAY, silence="timed out"), REFUSES, 5050, "does not answer: timed out"),
    "a connection": (judge_path, WAY, OK, 0, ""),
    "no connection": (
        judge_path,
        replace(WAY, connected_in=None, trouble="Connection refused"),
        REFUSES,
        5035,
        "by 10.0.0.2 port 40001: Connection refused",
    ),
    "a second network": (
        judge_path,
        replace(WAY, network="lan", failed=("san (10.1.0.2): no connection within 1 s",)),
        WARNS,
        0,
        "memory takes lan, as it does not get to node2 by san (10.1.0.2): no connection within 1 s",
    ),
    "no network at all": (
        judge_path,
        replace(WAY, network="lan", connected_in=None, trouble="Connection refused", failed=("san: silent",)),
        REFUSES,
        5035,
        "by lan, 10.0.0.2 port 40001: Connection refused (and before san: silent)",
    ),
    "every network excluded": (
        judge_path,
        PathSight("node2", left_out=(LeftOut("lan is excluded by MigrationExcludeNetworks", "take it out"),)),
        REFUSES,
        5035,
        "no network may carry memory to node2: lan is excluded",
    ),
    "an older node": (judge_path, replace(WAY, address="", connected_in=None), WARNS, 0, "does not say where"),
    "one clock": (judge_clock, replace(WAY, clock_offset=-0.9), OK, 0, ""),
    "a doubtful clock": (judge_clock, replace(WAY, clock_offset=1.4, clock_doubt=0.5), OK, 0, ""),
    "a clock ahead": (judge_clock, replace(WAY, clock_offset=2.0), WARNS, 0, "2.0 s ahead of"),
    "a clock behind": (judge_clock, replace(WAY, clock_offset=-700.0), WARNS, 0, "700.0 s behind"),
    "a clock of which nobody tells": (judge_clock, replace(WAY, clock_offset=None), WARNS, 0, "what time it is"),
}


@pytest.mark.parametrize("case", WAYS)
def test_the_way_between_two_nodes(case: str) -> None:
    rule, way, verdict, status, words = WAYS[case]
    finding = rule(way)
    assert (finding.verdict, finding.status) == (verdict, status)
    assert words in finding.sentence
    assert finding.measured


# --- findings --------------------------------------------------------------------------------------------------------


def test_findings_survive_the_way_between_nodes() -> None:
    for finding in (*judge_host(guest(huge_page=GIB)), *judge_node(replace(NODE, conflict="db2"))):
        assert Finding.from_json(finding.to_json()) == finding


def test_a_verdict_of_a_newer_node_is_no_consent() -> None:
    strange = {"rule": "moon", "verdict": "hesitates", "measured": "full", "sentence": "it is full"}
    assert Finding.from_json(strange).verdict is WARNS
    assert Finding.from_json({**strange, "status": 5953}).verdict is REFUSES


def test_sights_survive_the_way_between_nodes() -> None:
    full = replace(GUEST, blocked=("vfio",), huge_page=GIB)
    for sight in (full, GuestSight()):
        assert GuestSight.from_json(sight.to_json()) == sight
    assert GuestSight.from_json({}) == GuestSight()


def test_the_first_refusal_is_raised_with_its_status_and_sentence() -> None:
    fine, first = Finding.ok("a", "x"), Finding.refuses("b", "y", Status.ERROR_CLUSTER_NODE_NOT_FOUND, "unknown", "")
    second = Finding.refuses("c", "z", Status.ERROR_INVALID_STATE, "late", "")
    assert first_refusal((fine,)) is None
    with pytest.raises(CallerError) as caught:
        require((fine, first, second))
    assert (caught.value.status, caught.value.sentence) == (5042, "unknown")
    assert (first.said_by("node2").sentence, fine.said_by("node2").sentence) == ("node2: unknown", "")
