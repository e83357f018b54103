"""What a machine has on its disk as a node: whole, or nothing."""

import os
from pathlib import Path

import pytest

from quorate.client.address import node_addresses
from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import CallerError, ClusterError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.database.member_records import StoreAccess
from quorate.service.configuration import RUNTIME_LENGTH, read_configuration
from quorate.service.installation import prefix_of
from quorate.service.machine import DEFAULT_RUNTIME, DEFAULT_STATE, Machine, MachineFiles

ACCESS = StoreAccess(("https://10.0.0.9:2379",), "quorate/prod/", "ca", "certificate", "key")
NODE3 = NodeId("3")


def machine(state: Path, **changes: object) -> Machine:
    wanted = {
        "name": "beta",
        "listen": HostPort("192.0.2.2", 7443),
        "peers": HostPort("192.0.2.2", 7444),
        "runtime": Path("/run/q/3"),
        **changes,
    }
    return Machine(state=state, **wanted)  # type: ignore[arg-type]


def write(files: MachineFiles) -> Path:
    return files.write_configuration(NODE3, "prod", files.write_store_access(ACCESS))


def test_the_daemon_and_clients_read_what_was_written(tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    roots = (Path("/srv/vms"), Path("/mnt/more"))
    wanted = machine(state, saved=Path("/mnt/saved"), storage_roots=roots)
    with MachineFiles(wanted) as files:
        path = write(files)
        files.keep()
    configuration = read_configuration(path)
    assert (configuration.node, configuration.state, configuration.saved) == (NODE3, state, Path("/mnt/saved"))
    assert (configuration.runtime, configuration.storage_roots) == (Path("/run/q/3"), roots)
    assert (configuration.listen, configuration.peers) == (wanted.listen, wanted.peers)
    assert configuration.certificates == wanted.identity.directory
    assert not configuration.guard_is_external
    assert [(node.name, str(node.socket)) for node in node_addresses(str(state))] == [("beta", "/run/q/3/http")]
    assert state.stat().st_mode & 0o777 == 0o700


def test_what_was_not_kept_is_taken_back_with_the_directories_that_were_made(tmp_path: Path) -> None:
    with MachineFiles(machine(tmp_path / "new" / "state")) as files:
        write(files)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "node.key").write_text("of an earlier try")
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ZeroDivisionError), MachineFiles(machine(tmp_path)) as files:
        write(files)
        raise ZeroDivisionError
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "certificates",
        "certificates/node.key",
        "mine",
    ]


def test_the_usual_place_is_that_of_systemds_units() -> None:
    usual = machine(DEFAULT_STATE, runtime=None)
    assert usual.sockets == DEFAULT_RUNTIME
    other = machine(Path("/srv") / ("very long " * 30), runtime=None)
    assert len(os.fsencode(other.sockets)) <= RUNTIME_LENGTH
    assert other.sockets != machine(Path("/srv/other"), runtime=None).sockets


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"name": " beta"}, Status.ERROR_INVALID_NAME, "cannot be the name of a node"),
        ({"peers": HostPort("192.0.2.2", 0)}, Status.ERROR_INVALID_PARAMETER, "--peers 192.0.2.2:0: a port from 1"),
        ({"listen": HostPort("0.0.0.0", 7443)}, Status.ERROR_INVALID_PARAMETER, "this machine's own address"),
        ({"peers": HostPort("::", 7444)}, Status.ERROR_INVALID_PARAMETER, "this machine's own address"),
        ({"listen": HostPort("192.0.2.2", 7444)}, Status.ERROR_INVALID_PARAMETER, "clients and nodes need a port each"),
        ({"runtime": Path("/run/" + "x" * 60)}, Status.ERROR_INVALID_PARAMETER, "more than 60 bytes"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    changes: dict[str, object], status: Status, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ClusterError) as caught:
        machine(tmp_path / "state", **changes).check()
    assert caught.value.status == status
    assert said in caught.value.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_state_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(CallerError, match="belongs to another account"), MachineFiles(machine(tmp_path)):
        pass


def test_a_clusters_place_in_etcd_is_the_same_however_its_name_is_written() -> None:
    assert prefix_of("Prod") == prefix_of("PROD") == "quorate/prod/"
    assert prefix_of("a/b") != prefix_of("a") + "b/"
    assert prefix_of("Büro 1").isascii()
