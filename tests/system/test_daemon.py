"""A node's daemon as a process: it may die, it is small, and it lets nobody else in."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.system.start_cancel_rig import start

from quorate.client.functions import OpenCluster, OpenClusterResource
from quorate.clusapi.identity import GroupId, ImageId, NodeId, SessionId, VmId
from quorate.clusapi.json_types import json_int, json_object, json_text
from quorate.clusapi.states import VmState
from quorate.engine.journal import Journals, OutgoingNote
from quorate.hypervisor.serial_watch import SerialWatch
from quorate.migration.recovery import Noted, OutgoingJournal

LONGEST_SOCKET_PATH = 107
MOST_MEMORY = 80 << 20
_TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocketCluster]:
    """Two nodes in a directory whose path is longer than any socket's may be; web1 runs on node1."""
    place = tmp_path_factory.mktemp("daemon") / ("a very long name of a directory " * 3) / ("and another one " * 8)
    with pocket_cluster(place.with_name(place.name.strip()), nodes=2) as found:
        found.create_builtin("web1", "64M")
        found.set_lease(60)
        yield found


def _come_back(cluster: PocketCluster, node: str, before: int) -> None:
    """Wait until the keeper has started another daemon, and that one answers."""

    def answers() -> bool:
        facts = cluster.client_of(node).call("GetNodeReport", node=node).json("processes")
        return json_int(facts, "daemon_pid") not in (0, before)

    cluster.wait(answers, 20, f"another daemon of {node} answers")


def test_a_killed_daemon_comes_back_adopts_its_vm_and_nobody_notices(cluster: PocketCluster) -> None:
    before, pid = cluster.daemon_pid("node1"), json_int(cluster.vm("web1"), "pid")
    with SerialWatch(cluster.serial_log("web1", "node1"), from_end=True) as watch:
        assert watch.wait_beats(5, 60)
        os.kill(before, signal.SIGKILL)
        assert watch.wait_beats(20, 60), "the guest runs on without its daemon"
        _come_back(cluster, "node1", before)
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous
    facts = cluster.vm("web1")
    assert (json_int(facts, "pid"), VmState(json_int(facts, "vm_state"))) == (pid, VmState.RUNNING)
    assert cluster.owner("web1") == "node1"
    kinds = [event["kind"] for event in cluster.call("GetEvents", limit=20).objects("events")]
    assert "vm.adopted" in kinds
    assert "vm.failed" not in kinds


def test_an_adopted_vm_can_be_migrated_and_one_that_came_by_migration_adopted(cluster: PocketCluster) -> None:
    vm = OpenClusterResource(OpenCluster(str(cluster.directory)), "Virtual Machine web1")
    logs = [cluster.serial_log("web1", node) for node in ("node1", "node2")]
    with SerialWatch(*logs, from_end=True) as watch:
        for source, destination in (("node1", "node2"), ("node2", "node1")):
            before = cluster.daemon_pid(source)
            os.kill(before, signal.SIGKILL)
            _come_back(cluster, source, before)
            assert start(vm, destination) == 0
            cluster.wait(lambda node=destination: cluster.owner("web1") == node, 30, "it has moved")  # type: ignore[misc]
            cluster.wait(lambda: cluster.migration_state("web1") == 0, 10, "the migration is over")
            before = cluster.daemon_pid(destination)
            os.kill(before, signal.SIGKILL)
            _come_back(cluster, destination, before)
            assert json_int(json_object(cluster.vm("web1"), "migration"), "percent") == 100
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous


def test_a_note_left_of_an_earlier_move_ends_no_vm_that_is_to_run(cluster: PocketCluster) -> None:
    facts, pid = cluster.vm("web1"), json_int(cluster.vm("web1"), "pid")
    group, vm_id = GroupId(json_text(facts, "group")), VmId(json_text(facts, "vm"))
    journals = Journals(cluster.runtime("node1"))
    for other in Noted:
        journal = OutgoingJournal(
            SessionId("long-over"), NodeId("1"), NodeId("2"), ImageId("earlier"), ImageId("another"), other
        )
        journals.write_outgoing(OutgoingNote(group, vm_id, journal))
        before = cluster.daemon_pid("node1")
        os.kill(before, signal.SIGKILL)
        _come_back(cluster, "node1", before)
        cluster.wait(lambda: not journals.outgoing(), 10, "the note is gone")
        assert json_int(cluster.vm("web1"), "pid") == pid
        assert VmState(json_int(cluster.vm("web1"), "vm_state")) is VmState.RUNNING


def test_a_daemon_that_ends_in_order_leaves_its_vm_running_for_the_next(cluster: PocketCluster) -> None:
    before, pid = cluster.daemon_pid("node1"), json_int(cluster.vm("web1"), "pid")
    with SerialWatch(cluster.serial_log("web1", "node1"), from_end=True) as watch:
        os.kill(before, signal.SIGTERM)
        _come_back(cluster, "node1", before)
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous
    assert json_int(cluster.vm("web1"), "pid") == pid


def test_a_second_daemon_of_a_node_is_refused(cluster: PocketCluster) -> None:
    configuration = cluster.directory / "nodes" / "1" / "node.toml"
    command = [sys.executable, "-m", "quorate.service.daemon", str(configuration)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3
    assert "another daemon" in done.stderr


def test_a_daemon_at_rest_is_small(cluster: PocketCluster) -> None:
    pids = [cluster.daemon_pid(node) for node in ("node1", "node2")]
    keeper = cluster.keeper_pid()
    begun = [_processor_seconds(pid) for pid in (*pids, keeper)]
    time.sleep(5.0)  # what is measured is a rate
    used = [after - before for before, after in zip(begun, map(_processor_seconds, (*pids, keeper)), strict=True)]
    sizes = [_resident_bytes(pid) for pid in pids]
    percent = [f"{100 * seconds / 5.0:.1f} %" for seconds in used]
    print(f"daemons: {[f'{size >> 20} MiB' for size in sizes]}, processor: {percent[:-1]}, the keeper: {percent[-1]}")
    assert max(sizes) < MOST_MEMORY


def _resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def test_status_is_answered_without_loading_what_it_does_not_need(cluster: PocketCluster) -> None:
    """What takes time at the start of a command is what it imports."""
    program = (
        "import sys; from quorate.cli.main import run; code = run(sys.argv[1:]);"
        "print('\\n'.join(sorted(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    environment = {**os.environ, "QUORATE_CLUSTER": str(cluster.directory)}
    heavy = {"asyncio", "cyclopts", "rich", "structlog", "starlette", "uvicorn", "qemu", "sqlite3", "quorate.service"}
    for arguments, allowed in ((["status"], {"rich"}), (["status", "--json"], set[str]())):
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
            check=True,
        )
        print(f"quorate {' '.join(arguments)}: {1000 * (time.perf_counter() - begun):.0f} ms")
        assert heavy & set(done.stderr.split()) <= allowed


def test_nobody_but_the_owner_gets_at_directories_sockets_and_the_database(cluster: PocketCluster) -> None:
    """Other files are behind directories that nobody else may enter."""
    runtime = cluster.runtime("node1").parent
    places = [cluster.directory, *cluster.directory.rglob("*"), runtime, *runtime.rglob("*")]
    precious = [path for path in places if path.is_dir() or path.is_socket() or path.name.startswith("cluster.sqlite")]
    open_to_others = {str(path): oct(_mode(path)) for path in precious if _mode(path) & 0o077}
    assert open_to_others == {}
    assert {"http", "peers", "vms", "cluster.sqlite"} <= {path.name for path in precious}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_socket_paths_are_short_whatever_the_directory(cluster: PocketCluster) -> None:
    assert len(os.fsencode(cluster.directory)) > 200
    described = json.loads((cluster.directory / "cluster.json").read_text(encoding="utf-8"))
    sockets = [Path(node["http"]) for node in described["nodes"]]
    sockets += [path for node in ("node1", "node2") for path in cluster.runtime(node).rglob("*") if path.is_socket()]
    assert all(path.is_socket() for path in sockets)
    assert len({path.name for path in sockets}) >= 3, "http, peers and that of a QEMU"
    assert max(len(os.fsencode(path)) for path in sockets) < LONGEST_SOCKET_PATH
