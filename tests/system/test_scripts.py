"""Scripts in a real pocket cluster: order, alternatives, restarts, other groups, monitors that end; a VM looks on."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.pocket_cluster import PocketCluster, pocket_cluster

from quorate.clusapi.errors import CallerError, ClusterError
from quorate.clusapi.json_types import JsonObject, json_objects, json_text
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list, parse_property_list
from quorate.hypervisor.serial_watch import SerialWatch

ADDRESS1, ADDRESS2, SERVER = "address1", "address2", "server"
GET_RO_COMMON, SET_COMMON = 0x01000055, 0x0140005E
SCRIPT = """#!/bin/sh
cd "$(dirname "$0")"
name="$QUORATE_RESOURCE_NAME"
test -e "hang-$1-$name" && exec sleep 600
case "$1" in
    online) touch "runs-$name"; echo "+$name" >> log ;;
    offline|terminate) rm -f "runs-$name"; echo "-$name" >> log ;;
    looks_alive) echo . >> "polls-$name" ;;
    is_alive) test -e "runs-$name" ;;
esac
"""


class Scripts:
    """Three scripts in a group of node1: the server needs one of the addresses. All are polled often."""

    def __init__(self, cluster: PocketCluster) -> None:
        self.cluster = cluster
        self.directory = cluster.directory / "scripts"
        self.directory.mkdir(exist_ok=True)
        script = self.directory / "toy.sh"
        script.write_text(SCRIPT)
        script.chmod(0o755)
        cluster.client_of("node1").call("CreateGroup", name="web")
        cluster.client_of("node1").call("CreateGroup", name="other")
        for name in (ADDRESS1, ADDRESS2, SERVER):
            parameters: JsonObject = {"ScriptFilepath": "toy.sh"}
            cluster.call("CreateResource", group="web", name=name, type="Generic Script", parameters=parameters)
            self.set(name, LooksAlivePollInterval=50, IsAlivePollInterval=200)
        cluster.call("SetResourceDependencyExpression", resource=SERVER, expression=f"[{ADDRESS1}] or [{ADDRESS2}]")

    def set(self, name: str, **numbers: int) -> None:
        items = [(key, PropertyFormat.DWORD, number) for key, number in numbers.items()]
        data = pack_property_list(PropertyList.of(items))
        answer = self.cluster.call("ResourceControl", resource=name, control_code=SET_COMMON, in_buffer=data)
        assert answer.number("status") in (0, 5024), answer.optional_text("sentence")

    def read_only(self, name: str) -> dict[str, object]:
        answer = self.cluster.call("ResourceControl", resource=name, control_code=GET_RO_COMMON)
        return {item.name: item.value for item in parse_property_list(answer.data("output"))}

    def monitor(self, name: str) -> int:
        return int(str(self.read_only(name)["MonitorProcessId"]))

    def states(self) -> dict[str, str]:
        found = self.cluster.call("ListResources").objects("resources")
        names = {ADDRESS1, ADDRESS2, SERVER}
        return {json_text(item, "name"): json_text(item, "state_name") for item in found if item["name"] in names}

    def wait_states(self, expected: str) -> None:
        self.cluster.wait(lambda: set(self.states().values()) == {expected}, 30, f"all are {expected}: {self.states()}")

    def sentence(self, name: str) -> str:
        found = self.cluster.call("ListResources").objects("resources")
        return next(json_text(item, "sentence") for item in found if item["name"] == name)

    def log(self) -> list[str]:
        path = self.directory / "log"
        return path.read_text().split() if path.exists() else []

    def clear_log(self) -> None:
        (self.directory / "log").unlink(missing_ok=True)

    def wait_log(self, *lines: str) -> None:
        self.cluster.wait(lambda: self.log() == list(lines), 30, f"{lines}, not {self.log()}")

    def wait_polled(self, name: str) -> None:
        path = self.directory / f"polls-{name}"
        before = path.stat().st_size if path.exists() else 0
        self.cluster.wait(lambda: path.exists() and path.stat().st_size > before + 4, 30, f"{name} is polled")

    def runs(self, name: str) -> Path:
        return self.directory / f"runs-{name}"

    def events(self, kind: str) -> list[str]:
        found = self.cluster.call("GetEvents", limit=500).objects("events")
        return [json_text(event, "sentence") for event in found if event["kind"] == kind]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripts]:
    with pocket_cluster(tmp_path_factory.mktemp("scripts"), nodes=2, lease=60) as cluster:
        cluster.create_builtin("vm1", "64M")
        yield Scripts(cluster)


@pytest.fixture(autouse=True)
def everything_online(scripts: Scripts) -> None:
    scripts.cluster.call("OnlineGroup", group="web")
    scripts.wait_states("ONLINE")
    scripts.clear_log()


def test_a_group_goes_offline_and_online_in_order(scripts: Scripts) -> None:
    scripts.cluster.call("OfflineGroup", group="web")
    scripts.wait_states("OFFLINE")
    assert scripts.log()[0] == f"-{SERVER}"
    scripts.clear_log()
    scripts.cluster.call("OnlineGroup", group="web")
    scripts.wait_states("ONLINE")
    assert scripts.log()[0] != f"+{SERVER}"


def test_a_script_that_dies_is_started_again_and_its_dependents_only_when_they_must(scripts: Scripts) -> None:
    scripts.runs(ADDRESS1).unlink()
    scripts.wait_log(f"-{ADDRESS1}", f"+{ADDRESS1}")  # the server has the other address
    scripts.wait_states("ONLINE")
    scripts.cluster.call("SetResourceDependencyExpression", resource=SERVER, expression=f"[{ADDRESS2}]")
    scripts.clear_log()
    scripts.runs(ADDRESS2).unlink()
    scripts.wait_log(f"-{ADDRESS2}", f"-{SERVER}", f"+{ADDRESS2}", f"+{SERVER}")
    scripts.wait_states("ONLINE")
    assert "is_alive says that it does not work" in scripts.events("resource.failed")
    scripts.cluster.call("SetResourceDependencyExpression", resource=SERVER, expression=f"[{ADDRESS1}] or [{ADDRESS2}]")


def test_a_dependency_holds_from_the_moment_it_is_told(scripts: Scripts) -> None:
    with pytest.raises(CallerError) as refused:
        scripts.cluster.call("AddResourceDependency", resource=ADDRESS1, depends_on=SERVER)
    assert refused.value.status == 1059
    scripts.cluster.call("AddResourceDependency", resource=ADDRESS1, depends_on=ADDRESS2)
    scripts.cluster.call("OfflineResource", resource=ADDRESS2)
    scripts.wait_states("OFFLINE")
    assert scripts.log() == [f"-{SERVER}", f"-{ADDRESS1}", f"-{ADDRESS2}"]
    scripts.cluster.call("RemoveResourceDependency", resource=ADDRESS1, depends_on=ADDRESS2)


def test_a_tree_changes_its_group_while_it_runs(scripts: Scripts) -> None:
    scripts.cluster.call("ChangeResourceGroup", resource=ADDRESS1, group="other")
    found = scripts.cluster.call("ListResources").objects("resources")
    groups = {json_text(item, "name"): json_text(item, "group") for item in found}
    assert {groups[name] for name in (ADDRESS1, ADDRESS2, SERVER)} == {"other"}
    assert set(scripts.states().values()) == {"ONLINE"}
    for name in (ADDRESS1, SERVER):
        scripts.wait_polled(name)
    assert scripts.log() == []
    scripts.cluster.call("OfflineGroup", group="other")
    scripts.wait_states("OFFLINE")
    scripts.cluster.call("ChangeResourceGroup", resource=SERVER, group="web")
    scripts.wait_states("OFFLINE")


def test_a_monitor_that_is_killed_or_hangs_harms_no_script_and_no_vm(scripts: Scripts) -> None:
    scripts.set(SERVER, DeadlockTimeout=1500)
    first = scripts.monitor(SERVER)
    with SerialWatch(scripts.cluster.serial_log("vm1", "node1"), from_end=True) as watch:
        assert watch.wait_beats(5, 10)
        os.kill(first, signal.SIGKILL)
        for name in (ADDRESS1, ADDRESS2, SERVER):
            scripts.wait_polled(name)
        (scripts.directory / f"hang-looks_alive-{SERVER}").touch()
        scripts.cluster.wait(lambda: bool(scripts.events("monitor.hung")), 30, "its monitor is taken for hung")
        scripts.wait_polled(ADDRESS1)
        (scripts.directory / f"hang-looks_alive-{SERVER}").unlink()
        scripts.wait_states("ONLINE")
        scripts.wait_polled(SERVER)
        assert watch.wait_beats(5, 10)
    assert watch.report().continuous
    assert f"+{ADDRESS1}" not in scripts.log()
    assert f"+{ADDRESS2}" not in scripts.log()
    assert any(f"the monitor process {first} ended by signal 9" in item for item in scripts.events("monitor.lost"))
    assert "looks_alive of 'server' did not return" in scripts.events("monitor.hung")[0]
    monitors = json_objects(scripts.cluster.call("GetNodeReport", node="node1").json("processes"), "monitors")
    assert scripts.monitor(SERVER) in {item["pid"] for item in monitors}
    assert scripts.monitor(SERVER) not in (first, scripts.monitor(ADDRESS1))


def test_a_script_that_could_not_be_ended_is_ended_when_it_is_deleted(scripts: Scripts) -> None:
    call = scripts.cluster.call
    call("CreateResource", group="other", name="gone", type="Generic Script", parameters={"ScriptFilepath": "toy.sh"})
    scripts.set("gone", DeadlockTimeout=1500, RestartAction=0)
    call("OnlineResource", resource="gone")
    scripts.cluster.wait(lambda: scripts.runs("gone").exists(), 30, "it runs")
    with pytest.raises(ClusterError) as refused:
        call("DeleteResource", resource="gone")
    assert refused.value.status == 5019
    hang = scripts.directory / "hang-terminate-gone"
    hang.touch()
    call("FailResource", resource="gone")
    scripts.cluster.wait(lambda: "could not be ended" in scripts.sentence("gone"), 30, "terminate is given up")
    assert scripts.runs("gone").exists()
    hang.unlink()
    call("DeleteResource", resource="gone")
    scripts.cluster.wait(lambda: not scripts.runs("gone").exists(), 30, "nothing of it runs any more")
