"""The command `quorate` as a person types it, on a real pocket cluster: what it does, says and exits with."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.pocket_cluster import PocketCluster
from tests.system.qemu_gate import QemuGate
from tests.system.shell import Answer, Background, Shell
from tests.system.start_cancel_rig import Rig

from quorate.client.blocking import BlockingClient
from quorate.clusapi.json_types import JsonObject, json_int, json_object, json_objects, json_text
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.clusapi.states import MigrationState, VmState
from quorate.hypervisor.serial_watch import SerialWatch

REFUSED, MISTAKE, BROKEN, INTERRUPTED = 1, 2, 3, 130


class Desk:
    """A shell, the cluster that it works on, and a gate before QEMU."""

    def __init__(self, shell: Shell, cluster: PocketCluster, gate: QemuGate) -> None:
        self.shell = shell
        self.cluster = cluster
        self.gate = gate

    @property
    def rig(self) -> Rig:
        return Rig(self.cluster, self.gate)

    def running(self, name: str, node: str = "node1") -> None:
        """Have a VM of the built-in guest that runs on this node."""
        known = [json_text(vm, "name") for vm in json_objects(self.shell.json("vm", "list"), "virtual_machines")]
        if name not in known:
            self.shell.run("vm", "create", name, "--guest", "builtin", "--memory", "64M", "--node", node, "--start")
        self.rig.at_home(name, node)

    def watch(self, name: str) -> SerialWatch:
        return SerialWatch(*(self.cluster.serial_log(name, f"node{n}") for n in (1, 2, 3)), from_end=True)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    place = tmp_path_factory.mktemp("desk")
    gate, cluster = QemuGate(place / "gate"), PocketCluster(place / "cluster")
    shell = Shell(place, cluster.directory)
    try:
        with gate.in_path():
            answer = shell.run("up", "--nodes", "3")
        assert f"pocket cluster of 3 nodes is up in {cluster.directory}" in answer.out
        cluster.client = BlockingClient.at(str(cluster.directory))
        yield Desk(shell, cluster, gate)
    finally:
        gate.open()
        cluster.end()


def _fits(answer: Answer) -> bool:
    return max((len(line) for line in answer.out.splitlines()), default=0) <= 100


# --- making and looking --------------------------------------------------------------------------------------------


def test_a_vm_with_a_disk_a_card_and_two_cpus_is_made_started_and_shown(desk: Desk) -> None:
    shell = desk.shell
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", desk.shell.place / "web.qcow2", "16M"], check=True)
    options = ("--memory", "64M", "--disk", "web.qcow2", "--cpus", "2", "--nic", "user", "--guest", "builtin")
    assert "quorate vm start web" in shell.run("vm", "create", "web", *options).out
    assert json_int(shell.json("vm", "show", "web"), "vm_state") == VmState.OFF
    assert shell.run("vm", "start", "web").out == '"web" runs on node1\n'
    facts = shell.json("vm", "show", "web")
    command = facts["command"]
    assert isinstance(command, list)
    assert (json_text(facts, "node"), json_int(facts, "vm_state")) == ("node1", VmState.RUNNING)
    assert json_int(json_object(facts, "migration"), "migration_state") == MigrationState.NO_MIGRATION
    assert Path(json_text(facts, "serial_log")).read_bytes().startswith(b"Q 0000000001")
    assert json_int(facts, "pid") in desk.cluster.qemu_pids("node1")
    assert any(str(desk.shell.place / "web.qcow2") in str(word) for word in command)
    assert "cpus=2,sockets=1,cores=2,threads=1" in command
    shown = shell.run("vm", "show", "web")
    told = "".join(shown.out.split())  # a long path takes more than one line
    assert all(word in told for word in ("web", "node1", "Running", json_text(facts, "serial_log")))
    assert _fits(shown)
    listed = shell.run("vm", "list")
    assert "web" in listed.out
    assert _fits(listed)
    shell.run("vm", "delete", "web", "--turn-off", "--yes")
    assert (desk.shell.place / "web.qcow2").exists(), "its disks stay"


def test_a_vm_boots_from_its_disk_without_any_guest_being_named(desk: Desk) -> None:
    disk = desk.shell.place / "blank.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "16M"], check=True)
    answer = desk.shell.run(
        "vm", "create", "blank", "--memory", "64M", "--disk", str(disk), "--node", "node3", "--start"
    )
    assert answer.out == '"blank" was created and runs on node3\n'
    desk.shell.run("vm", "delete", "blank", "--turn-off", "--yes")
    assert desk.cluster.qemu_pids("node3") == {}


BAD = {
    "a disk that is not there": (("--memory", "64M", "--disk", "none.qcow2"), "disks[0].volume", "does not exist"),
    "no memory": (("--memory", "0", "--guest", "builtin"), "memory", "16777216"),
    "a size that is none": (("--memory", "1X", "--guest", "builtin"), "memory", "1X"),
    "no memory named": (("--disk", "web.qcow2"), "memory", "missing"),
    "nothing to boot": (("--memory", "64M"), "disks", "nothing to boot"),
    "no CPU": (("--guest", "builtin", "--cpus", "0"), "vcpus", "between 1"),
    "a card of no kind": (("--guest", "builtin", "--nic", "wifi"), "nics[0].kind", "wifi"),
    "a bridge without a name": (("--guest", "builtin", "--nic", "bridge"), "nics[0].target", "bridge"),
    "an unknown key": (("--definition", "unknown.json"), "colour", "not a key"),
    "an unknown key further down": (("--definition", "deeper.json"), "guest.speed", "not a key"),
    "a kernel that is not there": (("--memory", "64M", "--kernel", "vmlinuz"), "guest.kernel", "does not exist"),
    "an unknown node": (("--guest", "builtin", "--node", "node9"), "node9", "node"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_definition_is_refused_with_its_key_and_creates_nothing(desk: Desk, what: str) -> None:
    options, key, reason = BAD[what]
    (desk.shell.place / "unknown.json").write_text('{"memory": "64M", "guest": "builtin", "colour": "red"}')
    (desk.shell.place / "deeper.json").write_text('{"memory": "64M", "guest": {"kind": "builtin", "speed": 9}}')
    with desk.rig.nothing_changes():
        error = desk.shell.refusal("vm", "create", "bad", *options, code=MISTAKE)
    assert key in json_text(error, "sentence"), error
    assert reason in json_text(error, "sentence"), error


def test_a_name_that_is_taken_is_refused_without_regard_to_case_and_creates_nothing(desk: Desk) -> None:
    desk.running("web1")
    with desk.rig.nothing_changes():
        answer = desk.shell.run("vm", "create", "WEB1", "--guest", "builtin", code=MISTAKE)
    assert "WEB1" in answer.err
    assert "status 5010 ERROR_OBJECT_ALREADY_EXISTS" in answer.err


def test_options_that_do_not_go_together_are_a_mistake(desk: Desk) -> None:
    assert "--append" in desk.shell.run("vm", "create", "x", "--append", "quiet", code=MISTAKE).err
    assert "--dirty" in desk.shell.run("vm", "create", "x", "--dirty", "1M", code=MISTAKE).err
    assert "--weight" in desk.shell.run("vm", "create", "x", "--weight", "1", code=MISTAKE).err
    assert "web9" in desk.shell.run("vm", "show", "web9", code=MISTAKE).err


# --- moving --------------------------------------------------------------------------------------------------------


def test_migrate_shows_progress_that_never_runs_backwards_and_says_where_the_vm_runs(desk: Desk) -> None:
    desk.running("web1")
    with desk.watch("web1") as watch:
        answer = desk.shell.run("vm", "migrate", "web1", "--to", "node2")
        assert watch.wait_beats(20, 60)
    *lines, last = answer.out.splitlines()
    percents = [int(line.split(":")[1].split("%")[0]) for line in lines]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert last == '"web1" runs on node2'
    assert watch.report().continuous
    result = desk.shell.json("vm", "migrate", "web1")
    assert (result["ok"], result["source"]) == (True, "node2")
    assert result["node"] == result["destination"] != "node2"


def test_migrating_to_where_the_vm_is_or_nowhere_is_a_mistake_that_says_why(desk: Desk) -> None:
    desk.running("web1")
    assert "status 87 " in desk.shell.run("vm", "migrate", "web1", "--to", "node1", code=MISTAKE).err
    answer = desk.shell.run("vm", "migrate", "web1", "--to", "node9", code=MISTAKE)
    assert "node9" in answer.err
    assert "status 5042 ERROR_CLUSTER_NODE_NOT_FOUND" in answer.err
    desk.shell.run("node", "pause", "node2")
    answer = desk.shell.run("vm", "migrate", "web1", "--to", "node2", code=REFUSED)
    assert "resume it" in answer.err, "what would help is said"
    assert "status 5070 ERROR_CLUSTER_NODE_PAUSED" in answer.err
    desk.shell.run("node", "resume", "node2")


def test_ctrl_c_on_a_waiting_migrate_leaves_the_migration_running_and_says_so(desk: Desk) -> None:
    desk.running("web1")
    desk.gate.hold_arrivals()
    with desk.shell.background("vm", "migrate", "web1", "--to", "node2") as command:
        while "preparing" not in command.line():
            pass
        answer = command.interrupt()
    assert answer.code == INTERRUPTED
    assert 'the migration of "web1" goes on' in answer.err
    assert "quorate vm cancel web1" in answer.err
    assert desk.cluster.migration_state("web1") == MigrationState.SETUP
    desk.gate.open()
    desk.rig.wait_moved("web1", "node2")


def test_cancelling_twice_succeeds_twice_and_there_must_be_something_to_cancel(desk: Desk) -> None:
    desk.running("web1")
    desk.gate.hold_arrivals()
    assert "on its way" in desk.shell.run("vm", "migrate", "web1", "--to", "node2", "--no-wait").out
    assert "was cancelled; it runs on" in desk.shell.run("vm", "cancel", "web1").out
    assert "was cancelled already" in desk.shell.run("vm", "cancel", "web1").out
    assert "cancelled" in desk.shell.run("vm", "list").out.lower()
    desk.gate.open()
    desk.running("web1", "node3")
    assert "5023" in desk.shell.run("vm", "cancel", "web1", code=REFUSED).err, "the last one came to its end"


def test_a_migrate_that_somebody_else_cancels_ends_with_that_news(desk: Desk) -> None:
    desk.running("web1")
    desk.gate.hold_arrivals()
    with desk.shell.background("vm", "migrate", "web1", "--to", "node2") as command:
        assert command.line()
        desk.shell.run("vm", "cancel", "web1")
        answer = command.end()
    assert answer.code == REFUSED
    assert 'the migration was cancelled; "web1" runs on node1' in answer.err


def test_the_control_code_by_its_name_moves_the_vm(desk: Desk) -> None:
    desk.running("web1")
    answer = desk.shell.json("resource", "control", "Virtual Machine web1", "VM_START_MIGRATION", "--to", "node2")
    assert (answer["status"], answer["control_code"]) == (0, "0x01600004")
    desk.rig.wait_moved("web1", "node2")
    failed = desk.shell.run("resource", "control", "Virtual Machine web1", "0x01600008", code=REFUSED)
    assert "status 5023 ERROR_INVALID_STATE" in failed.err


def test_a_group_move_is_a_live_migration(desk: Desk) -> None:
    desk.running("web1")
    with desk.watch("web1") as watch:
        assert "on its way" in desk.shell.run("group", "move", "web1", "--to", "node2").out
        desk.rig.wait_moved("web1", "node2")
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous


# --- stopping and starting -----------------------------------------------------------------------------------------


def test_stop_saves_and_start_goes_on_where_it_was(desk: Desk) -> None:
    desk.running("web1")
    with desk.watch("web1") as watch:
        assert watch.wait_beats(5, 60)
        assert desk.shell.run("vm", "stop", "web1").out == '"web1" is saved\n'
        assert desk.shell.json("vm", "show", "web1")["pid"] is None
        assert "5023" in desk.shell.run("vm", "migrate", "web1", code=REFUSED).err
        assert desk.shell.run("vm", "start", "web1").out == '"web1" runs on node1\n'
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous


@pytest.mark.parametrize("action", ["turn-off", "shutdown", "shutdown-force"])
def test_every_other_way_to_stop_leaves_the_vm_off_and_its_count_begins_anew(desk: Desk, action: str) -> None:
    desk.running("web1")
    assert desk.shell.run("vm", "stop", "web1", "--action", action).out == '"web1" is off\n'
    with desk.watch("web1") as watch:
        desk.shell.run("vm", "start", "web1")
        assert watch.wait_beats(5, 60)
    assert watch.report().first == 1


def test_stop_without_an_action_does_what_the_property_offline_action_says(desk: Desk) -> None:
    desk.running("web1")
    for number, word in ((0, "off"), (1, "saved")):
        data = pack_property_list(PropertyList.of([("OfflineAction", PropertyFormat.DWORD, number)]))
        desk.shell.run("resource", "control", "Virtual Machine web1", "SET_PRIVATE_PROPERTIES", "--hex", data.hex())
        assert desk.shell.run("vm", "stop", "web1").out == f'"web1" is {word}\n'
        desk.shell.run("vm", "start", "web1")


def test_a_guest_that_does_not_shut_down_can_be_turned_off_meanwhile(desk: Desk) -> None:
    desk.running("web1")
    desk.shell.run("vm", "pause", "web1")
    assert "is stopping" in desk.shell.run("vm", "stop", "web1", "--action", "shutdown", "--no-wait").out
    assert desk.shell.run("vm", "stop", "web1", "--action", "turn-off").out == '"web1" is off\n'


def test_pause_and_resume_stop_the_count_and_let_it_go_on(desk: Desk) -> None:
    desk.running("web1")
    with desk.watch("web1") as watch:
        assert watch.wait_beats(5, 60)
        assert desk.shell.run("vm", "pause", "web1").out == '"web1" is paused\n'
        assert json_text(desk.shell.json("vm", "show", "web1"), "vm_state_name") == "PAUSED"
        before = watch.report().last
        assert "5023" in desk.shell.run("vm", "pause", "web1", code=REFUSED).err
        assert watch.report().last == before
        assert desk.shell.run("vm", "resume", "web1").out == '"web1" runs again\n'
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous


def test_delete_asks_and_does_nothing_unless_the_answer_is_yes(desk: Desk) -> None:
    desk.running("gone")
    assert "--yes" in desk.shell.run("vm", "delete", "gone", code=MISTAKE).err, "nobody is there to answer"
    assert desk.shell.answer_at_terminal("n", "vm", "delete", "gone").code == REFUSED
    assert "5019" in desk.shell.run("vm", "delete", "gone", "--yes", code=REFUSED).err, "it runs"
    assert desk.cluster.vm_state("gone") is VmState.RUNNING
    files = list(desk.cluster.directory.rglob(f"*{json_text(desk.cluster.vm('gone'), 'vm')}*"))
    assert files
    desk.shell.run("vm", "stop", "gone")
    answer = desk.shell.answer_at_terminal("y", "vm", "delete", "gone")
    assert (answer.code, answer.out) == (0, '"gone" was deleted; its disks stay\n')
    assert "gone" not in desk.shell.run("vm", "list").out
    assert [path for path in files if path.exists()] == [], "no log and no saved memory is left"


# --- following -----------------------------------------------------------------------------------------------------


def test_the_console_follows_the_guest_to_another_node(desk: Desk) -> None:
    desk.running("teller")  # it has had one life only: the console begins with the end of its log
    log, counts = desk.cluster.serial_log("teller", "node2"), [0]

    def follow(console: Background) -> None:
        line = console.line()
        assert line, "it goes on for as long as the guest counts"
        if len(line) == 12 and line.startswith("Q "):
            counts.append(int(line[2:]))

    with desk.shell.background("vm", "console", "teller") as console, SerialWatch(log, from_end=True) as there:
        follow(console)
        desk.shell.run("vm", "migrate", "teller", "--to", "node2")
        assert there.wait_beats(5, 60)
        last = there.report().last or 0
        while counts[-1] <= last:
            follow(console)
        answer = console.interrupt()
    del counts[:1]
    assert answer.code == 0
    assert counts == list(range(counts[0], counts[0] + len(counts))), "nothing is left out, nothing told twice"
    assert counts[0] < last < counts[-1], "what it printed on the other node is there"
    desk.shell.run("vm", "stop", "teller", "--action", "turn-off")
    desk.shell.run("vm", "delete", "teller", "--yes")


def test_events_tell_the_story_of_a_move_one_json_object_a_line(desk: Desk) -> None:
    desk.running("web1")
    before = max(int(json_text(event, "sequence")) for event in _events(desk.shell))
    desk.shell.run("vm", "migrate", "web1", "--to", "node2")
    told = _events(desk.shell, "--after", str(before))
    kinds = [json_text(event, "kind") for event in told]
    assert kinds.index("migration.started") < kinds.index("migration.state") < kinds.index("migration.completed")
    completed = next(event for event in told if event["kind"] == "migration.completed")
    assert (completed["before"], completed["after"], completed["object_name"]) == ("node1", "node2", "web1")
    assert "migration.completed" in desk.shell.run("events").out


def _events(shell: Shell, *options: str) -> list[JsonObject]:
    return [json.loads(line) for line in shell.run("events", "--json", *options).out.splitlines()]


def test_events_can_be_followed(desk: Desk) -> None:
    desk.running("web1")
    with desk.shell.background("events", "--follow", "--limit", "1", "--json") as follower:
        assert json.loads(follower.line())
        desk.shell.run("vm", "pause", "web1")
        seen = json.loads(follower.line())
        assert (seen["kind"], seen["after"]) == ("vm.state", "pausing")
        assert follower.interrupt().code == 0
    desk.shell.run("vm", "resume", "web1")


# --- the rest ------------------------------------------------------------------------------------------------------


def test_node_list_gives_states_and_pids_that_are_those_of_the_processes(desk: Desk) -> None:
    desk.running("web1")
    nodes = json_objects(desk.shell.json("node", "list"), "nodes")
    assert [json_text(node, "state_name") for node in nodes] == ["UP"] * 3
    assert [json_int(node, "daemon_pid") for node in nodes] == [
        desk.cluster.daemon_pid(f"node{number}") for number in (1, 2, 3)
    ]
    for node in nodes:
        pids = {json_int(process, "pid") for process in json_objects(node, "qemu")}
        assert pids == set(desk.cluster.qemu_pids(json_text(node, "name")))
    answer = desk.shell.run("node", "list")
    assert str(desk.cluster.daemon_pid("node1")) in answer.out
    assert _fits(answer)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("0x01600004", "CLUSCTL_RESOURCE_VM_START_MIGRATION"),
        ("VM_START_MIGRATION", "0x01600004"),
        ("5023", "ERROR_INVALID_STATE"),
        ("ERROR_INVALID_STATE", "5023"),
    ],
)
def test_explain_takes_codes_apart(desk: Desk, what: str, told: str) -> None:
    answer = desk.shell.run("explain", what)
    assert told in answer.out
    assert _fits(answer)
    assert desk.shell.json("explain", what)


def test_whatever_is_asked_with_json_is_answered_in_json_and_without_it_in_100_columns(desk: Desk) -> None:
    desk.running("web1")
    questions = (
        ("status",),
        ("node", "list"),
        ("vm", "list"),
        ("vm", "show", "web1"),
        ("group", "list"),
        ("group", "show", "web1"),
        ("resource", "list"),
        ("resource", "show", "Virtual Machine web1"),
        ("resource", "control", "Virtual Machine web1", "GET_PRIVATE_PROPERTIES"),
    )
    for question in questions:
        assert desk.shell.json(*question), question
        answer = desk.shell.run(*question)
        assert answer.out.strip(), question
        assert _fits(answer), answer.out


def test_without_a_cluster_every_command_says_how_to_get_one(desk: Desk) -> None:
    nowhere = Shell(desk.shell.place, desk.shell.place / "nowhere")
    for command in (("status",), ("vm", "list"), ("vm", "migrate", "web1")):
        assert "quorate up" in nowhere.run(*command, code=BROKEN).err


def test_help_is_there_for_every_command(desk: Desk) -> None:
    for command in ((), ("vm",), ("vm", "create"), ("vm", "migrate"), ("resource", "control"), ("down",)):
        answer = desk.shell.run(*command, "--help")
        assert "Usage: quorate" in answer.out, answer.out


def test_down_saves_the_vms_and_up_brings_them_back_where_they_were(desk: Desk) -> None:
    """The last one: it takes the cluster of all the others down."""
    shell, cluster = desk.shell, desk.cluster
    desk.running("web1", "node2")
    desk.running("web2", "node3")
    shell.run("vm", "stop", "web2", "--action", "turn-off")
    assert "--yes" in shell.run("down", code=MISTAKE).err
    daemons = [cluster.daemon_pid(f"node{number}") for number in (1, 2, 3)]
    with desk.watch("web1") as watch:
        assert watch.wait_beats(5, 60)
        assert "is down" in shell.run("down", "--yes").out
        assert cluster.qemu_pids() == {}
        assert not any(Path(f"/proc/{pid}").exists() for pid in daemons)
        assert "quorate up" in shell.run("status", code=BROKEN).err
        shell.run("down", "--yes")
        shell.run("up")
        cluster.wait(lambda: cluster.vm_state("web1") is VmState.RUNNING, 20, "web1 is back")
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous
    assert cluster.owner("web1") == "node2"
    assert (cluster.owner("web2"), cluster.vm_state("web2")) == ("node3", VmState.OFF), "it was not wanted online"
    shell.run("down", "--yes")
