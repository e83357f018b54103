"""What people see: the same commands, word for word, in a process like theirs."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.cli.main import run
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeStatus


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 2) as world:
        monkeypatch.setenv("QUORATE_CLUSTER", str(tmp_path))
        yield world


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, line: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = run(line.split())
        out, err = self._capsys.readouterr()
        return code, "\n".join(part.rstrip() for part in out.splitlines()).strip("\n"), err


@pytest.fixture
def shell(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


STATUS = """\
Cluster pocket

 Node    Id   State   Groups   Daemon   QEMU
 ───────────────────────────────────────────
 node1   1    Up           2   1001     2001
 node2   2    Up           0   1002     -


 Virtual machine   Node    VM        Resource   Migration
 ────────────────────────────────────────────────────────
 web1              node1   Running   Online


 Group           Node    State     Type   Resources
 ──────────────────────────────────────────────────
 Cluster Group   node1   Offline      1           1"""

MIGRATION = """\
web1:   0 %, preparing
web1:  40 %, copying, pass 1, 150.0 MiB left
web1:  40 %, copying, pass 2, 9.0 MiB left
web1:  95 %, handing over, pass 2
web1: 100 %, done
"web1" runs on node2"""


def test_the_life_of_a_virtual_machine(shell: Shell) -> None:
    assert shell("vm create web1 --guest builtin --node node1") == (
        0,
        '"web1" was created on node1; start it: quorate vm start web1',
        "",
    )
    assert shell("vm start web1") == (0, '"web1" runs on node1', "")
    assert shell("status") == (0, STATUS, "")
    assert shell("vm migrate web1 --to node2") == (0, MIGRATION, "")
    assert shell("vm pause web1") == (0, '"web1" is paused', "")
    assert shell("vm resume web1") == (0, '"web1" runs again', "")
    assert shell("vm stop web1") == (0, '"web1" is saved', "")
    assert shell("vm start web1") == (0, '"web1" runs on node2', "")
    assert shell("vm stop web1 --action turn-off") == (0, '"web1" is off', "")
    assert shell("vm delete web1 --yes") == (0, '"web1" was deleted; its disks stay', "")


def test_refusals_name_rule_remedy_and_status(shell: Shell) -> None:
    shell("vm create web1 --guest builtin")
    assert shell("vm migrate web1") == (
        1,
        "",
        "refused: the VM does not run; start it first\n  status 5023 ERROR_INVALID_STATE\n",
    )
    code, _, err = shell("vm show web2")
    assert (code, "5013 ERROR_GROUP_NOT_FOUND" in err) == (2, True)
    code, _, err = shell("vm create web1 --guest builtin")
    assert (code, "5010" in err) == (2, True)


@pytest.mark.parametrize(
    "line",
    ["nonsense", "vm", "vm create", "vm create x --guest bogus", "--cluster", "vm create x --beat-hz 5", "vm show"],
)
def test_mistakes_in_the_command_are_2(shell: Shell, line: str) -> None:
    code = shell(line)[0]
    assert code == (0 if line == "vm" else 2)  # a noun alone shows its verbs


def test_no_cluster_is_3(shell: Shell, tmp_path: Path) -> None:
    code, out, err = shell(f"status --cluster {tmp_path}/nothing")
    assert (code, out) == (3, "")
    assert "quorate up" in err


def test_cancel_takes_already_cancelled_for_success(shell: Shell, world: FakeWorld) -> None:
    shell("vm create web1 --guest builtin --start")
    world.pace = 60.0  # it is cancelled before it is over, however busy the machine is
    assert shell("vm migrate web1 --no-wait")[0] == 0
    assert shell("vm cancel web1") == (0, 'the migration of "web1" was cancelled; it runs on', "")
    assert shell("vm cancel web1") == (0, 'the migration of "web1" was cancelled already', "")
    world.pace = 0.01


def test_json_has_the_same_facts(shell: Shell) -> None:
    created = json.loads(shell("vm create web1 --guest builtin --start --json")[1])
    assert created["vm_state"] == 2
    facts = json.loads(shell("vm show web1 --json")[1])
    assert {"node", "serial_log", "vm_state", "migration", "definition", "epoch"} <= set(facts)
    assert facts["definition"]["guest"] == {"kind": "builtin"}
    nodes = json.loads(shell("node list --json")[1])["nodes"]
    assert [(node["daemon_pid"], [process["pid"] for process in node["qemu"]]) for node in nodes] == [
        (1001, [2001]),
        (1002, []),
    ]
    moved = json.loads(shell("--json vm migrate web1")[1])
    assert (moved["ok"], moved["node"]) == (True, "node2")
    code, out, err = shell("vm cancel web1 --json")
    assert (code, out, json.loads(err)["error"]["status"]) == (1, "", 5023)
    events = [json.loads(line) for line in shell("events --json")[1].splitlines()]
    assert events[0]["kind"] == "vm.created"


def test_what_there_is_to_say_of_a_node_besides_its_state_is_shown(shell: Shell, world: FakeWorld) -> None:
    world.statuses[NodeId("1")] = NodeStatus.QUARANTINED | NodeStatus.AVOID_PLACEMENT
    world.statuses[NodeId("2")] = NodeStatus.ISOLATED
    for command in ("status", "node list"):
        words = shell(command)[1]
        assert "Up, quarantined, avoid placement" in words
        assert "Isolated" in words
    nodes = json.loads(shell("node list --json")[1])["nodes"]
    assert [(node["status"], node["status_names"]) for node in nodes] == [
        (0x22, ["QUARANTINED", "AVOID_PLACEMENT"]),
        (0x1, ["ISOLATED"]),
    ]


def test_an_isolated_node_shows_what_runs_on_it_and_loses_nothing(shell: Shell, world: FakeWorld) -> None:
    shell("vm create web1 --guest builtin --start")
    world.down.add(NodeId("1"))  # no member any more, as it sees itself
    assert "Lost" in shell("status")[1]
    world.statuses[NodeId("1")] = NodeStatus.ISOLATED
    words = shell("status")[1]
    assert "Isolated" in words
    assert "Running" in words
    assert "Lost" not in words


@pytest.mark.parametrize("noun", ["status", "vm list", "node list", "group list", "resource list", "vm show web1"])
def test_tables_fit_100_columns(shell: Shell, noun: str) -> None:
    name = "web" + "x" * 120
    run(["vm", "create", name, "--guest", "builtin"])
    code, out, _ = shell(noun.replace("web1", name))
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100


def test_any_control_code_can_be_sent(shell: Shell, world: FakeWorld) -> None:
    run(["vm", "create", "web1", "--guest", "builtin"])
    assert run(["resource", "control", "Virtual Machine web1", "0x01000081", "--hex", "00ff"]) == 0
    assert world.controls[-1][2:] == (0x01000081, b"\x00\xff")
    assert run(["resource", "control", "Virtual Machine web1", "vm_start_migration", "--to", "node2"]) == 1
    assert world.controls[-1][2:] == (0x01600004, "node2\0".encode("utf-16-le"))
    assert run(["resource", "control", "Virtual Machine web1", "UNKNOWN", "--hex", ""]) == 0
    assert world.controls[-1][3] == b""
    assert run(["resource", "control", "Virtual Machine web1", "NO_SUCH_CODE"]) == 2
    assert run(["resource", "control", "Virtual Machine web1", "1", "--hex", "0g"]) == 2


def test_dependencies_names_and_groups_are_changed(shell: Shell) -> None:
    for group, names in (("scripts", "ab"), ("spare", "c")):
        assert shell(f"group create {group}")[0] == 0
        for name in names:
            assert run(["resource", "create", name, "ScriptFilepath=x.sh", "--group", group]) == 0
    assert run(["resource", "create", "d", "ScriptFilepath", "--group", "spare"]) == 2
    assert shell("resource online a")[0] == shell("resource fail a")[0] == shell("resource offline a")[0] == 0
    assert "a depends on [b]" in shell("resource depend a b")[1]
    assert shell("resource depend b a")[0] == 2
    assert "a depends on [b]" in shell("resource depend a")[1]
    assert json.loads(shell("resource depend a --json")[1])["depends_on_names"] == "[b]"
    assert "a depends on nothing" in shell("resource undepend a b")[1]
    assert shell("resource undepend a b")[0] == 2
    assert run(["resource", "depend", "a", "--expression", "[b]"]) == 0
    assert run(["resource", "depend", "a", "b", "--expression", "[b]"]) == 2
    assert shell("resource regroup a spare")[0] == 0
    assert shell("resource regroup b spare")[0] == 2  # went along
    assert shell("resource rename c gamma")[0] == 0
    assert shell("group rename spare rest")[0] == 0
    listed = json.loads(shell("resource list --json")[1])["resources"]
    assert {item["name"] for item in listed if item["group"] == "rest"} == {"a", "b", "gamma"}
    assert shell("group delete rest")[0] == 1
    assert [shell(f"resource delete {name}")[0] for name in ("a", "b", "gamma")] == [0, 0, 0]
    assert [shell(f"group delete {name}")[0] for name in ("rest", "scripts")] == [0, 0]


def test_group_sets_are_made_and_say_who_waits_for_whom(shell: Shell) -> None:
    assert "no group sets" in shell("group-set list")[1]
    for name in ("web", "app", "db"):
        assert shell(f"group create {name}")[0] == 0
    for name in ("front", "back"):
        assert shell(f"group-set create {name}")[0] == 0
    assert shell("group-set add front web app")[0] == shell("group-set add back db")[0] == 0
    assert shell("group-set add back web")[0] == 2
    assert shell("group-set add back web --move")[0] == shell("group-set remove web")[0] == 0
    assert shell("group-set depend front back")[0] == 0
    assert shell("group-set depend front")[0] == shell("group-set add front")[0] == 2
    assert shell("group-set set front ReadyCount=1")[0] == 0
    listed = json.loads(shell("group-set list --json")[1])["group_sets"]
    assert [(one["name"], one["groups"], one["depends_on"], one["ready_count"]) for one in listed] == [
        ("back", ["db"], "", 0xFFFFFFFF),
        ("front", ["app"], "[back]", 1),
    ]
    assert "[back]" in shell("group-set list")[1]
    assert shell("group depend web app")[0] == shell("group depend web --group-set back")[0] == 0
    assert shell("group depend web")[0] == shell("group depend web app --group-set back")[0] == 2
    assert run(["group", "depend", "web", "--expression", "[app] or [db]"]) == 0
    assert shell("group-set delete back")[0] == 1
    assert shell("group undepend web db")[0] == shell("group undepend web --group-set back")[0] == 0
    assert shell("group-set undepend front back")[0] == shell("group-set delete back")[0] == 0
    assert run(["group-set", "depend", "front", "--expression", ""]) == 0


def test_types_are_registered_and_what_a_group_holds_goes_by_force(shell: Shell) -> None:
    assert shell("type create Strange")[0] == 0
    types = {one["name"]: one for one in json.loads(shell("type list --json")[1])["types"]}
    assert (types["Strange"]["refusal"], types["Generic Script"]["refusal"]) == ("", "")
    assert types["Physical Disk"]["refusal"]
    assert "Strange" in shell("type list")[1]
    assert shell("group create g")[0] == 0
    assert run(["resource", "create", "it", "--group", "g", "--type", "Strange"]) == 0
    assert run(["resource", "create", "disk", "--group", "g", "--type", "Physical Disk"]) == 1
    assert shell("resource restart it")[0] == 1
    assert shell("resource online it")[0] == shell("resource restart it")[0] == shell("resource offline it")[0] == 0
    assert shell("type delete Strange")[0] == 1
    assert shell("group delete g")[0] == 1
    assert shell("group delete g --force")[0] == shell("type delete Strange")[0] == 0


def test_delete_asks_and_takes_silence_for_no(shell: Shell) -> None:
    run(["vm", "create", "web1", "--guest", "builtin"])
    code, _, err = shell("vm delete web1")
    assert (code, "--yes" in err) == (2, True)
    assert shell("vm show web1")[0] == 0


def test_explain_shows_the_bits(shell: Shell) -> None:
    code, out, _ = shell("explain 0x01600004")
    assert code == 0
    assert re.search(r"22 +modify +1", out)
    assert "VM_START_MIGRATION" in out
    assert "ERROR_INVALID_STATE" in shell("explain 5023")[1]
    assert shell("explain nonsense_at_all")[0] == 2


def test_ctrl_c_leaves_the_migration_running_and_says_so(world: FakeWorld) -> None:
    run(["vm", "create", "web1", "--guest", "builtin", "--start"])
    world.pace = 60.0  # far longer than a busy machine keeps a process waiting
    command = [sys.executable, "-m", "quorate.cli.main", "vm", "migrate", "web1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "preparing" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert "goes on" in process.stderr.read()
    assert [details.progress.is_running for details in world.vms.values()] == [True]
    world.pace = 0.01


def test_the_console_shows_the_serial_log(world: FakeWorld, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    run(["vm", "create", "web1", "--guest", "builtin"])
    (world.directory / "node1.serial").write_text("beat 1\nbeat 2\n")
    capfdbinary.readouterr()
    assert run(["vm", "console", "web1", "--no-follow", "--all"]) == 0
    assert capfdbinary.readouterr().out == b"beat 1\nbeat 2\n"
