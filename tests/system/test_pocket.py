"""`quorate up` and `quorate down` when something is not as it should be: processes gone, mute, or handing over."""

import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.fault_lab import SOURCE, lab
from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.system.shell import Shell

from quorate.cli.commands.pocket import down
from quorate.cli.demo import demo
from quorate.cli.session import session
from quorate.clusapi.errors import CallerError, FaultError, RefusalError
from quorate.clusapi.json_types import json_int, json_objects
from quorate.clusapi.states import VmState
from quorate.clusapi.status import Status
from quorate.engine.fault_points import Point
from quorate.service import pocket, pocket_rest
from quorate.service.pocket_files import configured
from quorate.service.pocket_processes import QemuProcess, daemon_pids, guard_pids, keeper_pid

LIMIT = 120.0
REFUSED, MISTAKE, BROKEN = 1, 2, 3


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[PocketCluster]:
    with pocket_cluster(tmp_path / "cluster", nodes=2) as found:
        yield found


def _is_gone(cluster: PocketCluster) -> bool:
    guards = guard_pids(configured(cluster.directory))
    return not pocket.is_up(cluster.directory) and not cluster.qemu_pids() and not guards


# --- down ----------------------------------------------------------------------------------------------------------


def test_down_without_a_keeper_ends_the_daemons_and_saves_the_vms(cluster: PocketCluster, tmp_path: Path) -> None:
    cluster.create_builtin("web1", "64M")
    runtime = cluster.runtime("node1")
    os.kill(cluster.keeper_pid(), signal.SIGKILL)
    cluster.wait(lambda: keeper_pid(cluster.directory) is None, LIMIT, "the keeper is gone")
    assert len(daemon_pids(cluster.directory)) == 2
    answer = Shell(tmp_path, cluster.directory).json("down", "--yes")
    assert (answer["stopped"], answer["ended_unsaved"]) == (True, [])
    assert _is_gone(cluster)
    assert not runtime.parent.exists()
    cluster.start()
    cluster.wait(lambda: cluster.vm_state("web1") is VmState.RUNNING, LIMIT, "web1 is back")


def _cripple(cluster: PocketCluster) -> dict[Path, str]:
    """Keep every daemon from coming up, and kill those that are; answers the sound configurations."""
    sound = {path: path.read_text() for path in cluster.directory.glob("nodes/*/node.toml")}
    for path in sound:
        path.write_text("nonsense = 1\n")
    for daemon in daemon_pids(cluster.directory):
        os.kill(daemon, signal.SIGKILL)
    return sound


def test_down_ends_what_nobody_can_save_and_says_so(
    cluster: PocketCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also: the keeper starts daemons that die again and again."""
    cluster.create_builtin("web1", "64M")
    cluster.set_lease(60)
    pid = json_int(cluster.vm("web1"), "pid")
    sound = _cripple(cluster)
    monkeypatch.setattr(pocket_rest, "SILENCE", 1.0)  # well within the lease: the guard lets it run meanwhile
    told: list[str] = []
    assert [qemu.pid for qemu in pocket.stop(cluster.directory, told.append)] == [pid]
    assert "what runs there cannot be saved" in told[-1]
    assert _is_gone(cluster)
    for path, text in sound.items():
        path.write_text(text)
    cluster.start()
    cluster.wait(lambda: cluster.vm_state("web1") is VmState.RUNNING, LIMIT, "web1 is started from its disks")
    cluster.set_lease(5)
    sound = _cripple(cluster)
    keeper_log = cluster.directory / "keeper.log"
    dying = "the daemons die and die"  # how much later each time, the keeper's own test tells
    cluster.wait(lambda: keeper_log.read_text().count("started again in") >= 6, LIMIT, dying)
    cluster.wait(lambda: not cluster.qemu_pids(), LIMIT, "the guard ends what no daemon renews a lease for")
    answer = Shell(tmp_path, cluster.directory).json("down", "--yes")
    assert (answer["stopped"], answer["ended_unsaved"]) == (True, [])
    assert _is_gone(cluster)


def test_down_tells_in_words_and_in_its_exit_code_what_it_ended_unsaved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = (QemuProcess(4711, "1"),)
    monkeypatch.setattr(pocket, "stop", lambda directory, tell: lost)
    assert down(dir=tmp_path, yes=True) == BROKEN
    assert "ended unsaved, since no daemon was there to save them: QEMU 4711 of node 1" in capsys.readouterr().out
    monkeypatch.setattr(session, "json", True)
    assert down(dir=tmp_path, yes=True) == BROKEN
    assert json.loads(capsys.readouterr().out)["ended_unsaved"] == [{"pid": 4711, "node": "1"}]


def test_down_is_not_held_up_by_daemons_and_a_keeper_that_stand_still(
    cluster: PocketCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pocket, "PATIENCE", 1.0)
    monkeypatch.setattr(pocket, "KEEPER_PATIENCE", 1.0)
    for pid in (cluster.keeper_pid(), *daemon_pids(cluster.directory)):
        os.kill(pid, signal.SIGSTOP)
    assert pocket.stop(cluster.directory) == ()
    assert _is_gone(cluster)


def test_down_asks_again_when_a_vm_changes_hands_and_nobody_listens(tmp_path: Path) -> None:
    """While the record names a node that has not heard of it, a request to go off is dropped."""
    with lab(tmp_path) as here:
        cluster = here.cluster
        cluster.create_builtin("web1", "64M")
        here.hold(SOURCE, Point.GIVEN)
        cluster.call("MoveGroup", group="web1", destination="node2")
        cluster.wait(lambda: here.is_reached(SOURCE, Point.GIVEN), LIMIT, "web1 is given away")
        told: list[str] = []
        left: list[object] = []
        stopping = threading.Thread(target=lambda: left.append(pocket.stop(cluster.directory, told.append)))
        stopping.start()
        try:
            cluster.wait(lambda: any("waiting for web1" in words for words in told), LIMIT, "somebody is told")
            assert stopping.is_alive()
        finally:
            here.release()
            stopping.join()
        assert left == [()]
        assert _is_gone(cluster)
        cluster.start()
        cluster.wait(lambda: cluster.vm_state("web1") is VmState.RUNNING, LIMIT, "web1 is back")


# --- up ------------------------------------------------------------------------------------------------------------


def test_up_finds_its_sockets_whatever_the_environment_says_and_after_a_restart_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = PocketCluster(tmp_path / "cluster", 1)
    session_directory = Path(tempfile.mkdtemp(prefix="qs", dir="/tmp"))  # short, as those of sessions are
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(session_directory))
        cluster.start()
        runtime = cluster.runtime("node1")
        assert runtime.is_relative_to(session_directory)
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        pocket.stop(cluster.directory)
        assert not runtime.exists()
        shutil.rmtree(session_directory)
        cluster.start()
        assert cluster.runtime("node1") == runtime
        assert cluster.call("ListNodes")
        assert runtime.parent.parent.joinpath("accelerator.json").exists()
        pocket.stop(cluster.directory)
        assert not runtime.parent.exists()
    finally:
        cluster.end()
        shutil.rmtree(session_directory, ignore_errors=True)


def test_up_tells_how_many_nodes_there_are_and_does_not_pretend_to_have_fewer(
    cluster: PocketCluster, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, cluster.directory)
    with pytest.raises(RefusalError, match="is up with 2 nodes"):
        pocket.start(cluster.directory, 3)
    assert len(json_objects(cluster.call("ListNodes").as_json(), "nodes")) == 2
    pocket.stop(cluster.directory)
    with pytest.raises(CallerError, match="has 2 nodes and cannot be started with 1"):
        pocket.start(cluster.directory, 1)
    assert "has 2 nodes" in shell.run("up", "--nodes", "1", code=MISTAKE).err
    assert "of 2 nodes is up" in shell.run("up").out


# --- the demo ------------------------------------------------------------------------------------------------------


def test_the_demo_says_that_it_was_not_taken_down_in_order_and_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(directory: Path) -> object:
        raise FaultError(Status.ERROR_TIMEOUT, "web1 did not go off")

    cluster = PocketCluster(tmp_path / "cluster")
    monkeypatch.setattr(session, "json", True)
    monkeypatch.setattr(pocket, "stop", refuse)
    try:
        assert demo(dir=cluster.directory) == REFUSED
        proof = json.loads(capsys.readouterr().out)
        assert proof["ok"] is False
        assert any("web1 did not go off" in fault for fault in proof["faults"])
        assert _is_gone(cluster)
    finally:
        cluster.end()


def test_a_silent_cluster_without_virtual_machines_is_not_waited_for(cluster: PocketCluster) -> None:
    for path in cluster.directory.glob("nodes/*/node.toml"):
        path.write_text("nonsense = 1\n")
    for daemon in daemon_pids(cluster.directory):
        os.kill(daemon, signal.SIGKILL)
    told: list[str] = []
    assert pocket.stop(cluster.directory, told.append) == ()
    assert told == []
