"""Setting properties by the commands."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.cli.main import run
from quorate.clusapi.identity import NodeId
from quorate.clusapi.property_lists import parse_property_list


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 2) as world:
        monkeypatch.setenv("QUORATE_CLUSTER", str(tmp_path))
        assert run(["vm", "create", "web1", "--guest", "builtin"]) == 0
        yield world


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = run(list(words))
        out, err = self._capsys.readouterr()
        return code, out.strip(), err.strip()


@pytest.fixture
def shell(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def cluster_properties(shell: Shell) -> dict[str, object]:
    found: dict[str, object] = json.loads(shell("cluster", "show", "--json")[1])["properties"]
    return found


def test_set_and_show_properties_of_the_cluster(shell: Shell) -> None:
    line = ("cluster", "set", "maximumparallelmigrations=2", "Description=two words")
    assert shell(*line) == (0, '"pocket": MaximumParallelMigrations = 2, Description = two words', "")
    found = cluster_properties(shell)
    assert (found["MaximumParallelMigrations"], found["Description"]) == (2, "two words")
    code, out, _ = shell("cluster", "show")
    assert (code, "MaximumParallelMigrations" in out) == (0, True)
    assert max(map(len, out.splitlines())) <= 100


def test_set_properties_of_groups_and_nodes(shell: Shell) -> None:
    facts = json.loads(shell("group", "set", "web1", "LockedFromMoving=1", "AntiAffinityClassNames=a, b", "--json")[1])
    properties = {"LockedFromMoving": 1, "AntiAffinityClassNames": ["a", "b"]}
    assert facts == {"group": "web1", "status": 0, "properties": properties}
    assert shell("group", "set", "web1", "FailbackWindowStart=-1")[1] == '"web1": FailbackWindowStart = 4294967295'
    assert shell("node", "set", "node1", "NodeWeight=0") == (0, '"node1": NodeWeight = 0', "")
    assert shell("group", "set", "web1", "Name=web2")[0] == 0
    assert shell("group", "show", "web2")[0] == 0


def test_set_common_and_private_properties_of_a_resource(shell: Shell, world: FakeWorld) -> None:
    line = ("resource", "set", "Virtual Machine web1", "RestartThreshold=5", "offlineaction=2")
    assert shell(*line) == (0, '"Virtual Machine web1": RestartThreshold = 5, OfflineAction = 2', "")
    sent = [(code, data) for _, _, code, data in world.controls if data is not None]
    assert [code for code, _ in sent] == [0x01000061, 0x01000089, 0x0140005E, 0x01400086], "checked, then set"
    assert [[(item.name, item.value) for item in parse_property_list(data)] for _, data in sent[2:]] == [
        [("RestartThreshold", 5)],
        [("OfflineAction", 2)],
    ]
    world.controls.clear()
    assert shell(*line[:3], "RestartThreshold=5", "OfflineAction=9")[0] == 2
    assert not [code for _, _, code, _ in world.controls if code & 0x400000], "nothing was set"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("Priority",), "is not KEY=VALUE"),
        (("=1",), "is not KEY=VALUE"),
        ((), "say what to set"),
        (("Prority=1",), "do you mean Priority?"),
        (("Zzz=1",), "--private"),
        (("Priority=high",), "Priority is a number"),
        (("Priority=0x100000000",), "32 bits"),
        (("Priority=3001",), "13 ERROR_INVALID_DATA"),
        (("GroupType=111",), "87 ERROR_INVALID_PARAMETER"),
        (("Name=Cluster Group",), "5010"),
    ],
)
def test_mistakes_are_told(shell: Shell, words: tuple[str, ...], said: str) -> None:
    code, out, err = shell("group", "set", "web1", *words)
    assert (code, out) == (2, "")
    assert said in err


def test_private_properties_of_ones_own(shell: Shell) -> None:
    assert shell("cluster", "set", "--private", "Rack=7", "Room=cellar") == (0, '"pocket": Rack = 7, Room = cellar', "")
    assert "Rack" not in cluster_properties(shell)


def test_show_has_the_common_properties(shell: Shell) -> None:
    assert shell("group", "set", "web1", "AntiAffinityClassNames=front,back")[0] == 0
    shown = shell("group", "show", "web1")[1]
    assert "AntiAffinityClassNames" in shown
    assert "front" in shown
    assert json.loads(shell("group", "show", "web1", "--json")[1])["properties"]["Priority"] == 2000
    resource = "Virtual Machine web1"
    assert "RestartThreshold" in shell("resource", "show", resource)[1]
    assert json.loads(shell("resource", "show", resource, "--json")[1])["properties"]["RestartThreshold"] == 3


def test_show_tells_of_an_object_whose_node_is_down_what_is_known(shell: Shell, world: FakeWorld) -> None:
    world.down.add(NodeId("1"))
    address = str(world.directory / "node2.sock")
    for words in (("group", "show", "web1"), ("resource", "show", "Virtual Machine web1")):
        code, shown, _ = shell(*words, "--cluster", address)
        assert code == 0
        assert "web1" in shown
        assert "its properties are not known now: node1, which would have to do this, is down" in words_of(shown)


def words_of(text: str) -> str:
    return " ".join(text.split())


def test_the_migration_policy_of_the_cluster_and_of_a_virtual_machine(shell: Shell) -> None:
    assert shell("cluster", "set", "MigrationPolicy=gentle") == (0, '"pocket": MigrationPolicy = gentle', "")
    code, _, err = shell("cluster", "set", "MigrationPolicy=brutal")
    assert code == 2
    assert "takes gentle, default, must-move, never-postcopy; not 'brutal'" in " ".join(err.split())
    assert cluster_properties(shell)["MigrationPolicy"] == "gentle"


def test_a_type_is_shown_with_its_properties_and_its_resources(shell: Shell) -> None:
    found = json.loads(shell("type", "show", "virtual machine", "--json")[1])
    assert (found["name"], found["refusal"], found["resources"]) == ("Virtual Machine", "", ["Virtual Machine web1"])
    assert found["properties"]["IsAlivePollInterval"] > 0
    assert found["private_properties"]["MigrationExcludeNetworks"] == ""
    assert found["private_properties"]["MoveTypeThreshold"] == 2000
    code, out, _ = shell("type", "show", "Virtual Machine")
    assert code == 0
    assert all(word in out for word in ("Virtual Machine web1", "MigrationNetworkOrder", "resources can be made"))
    assert max(map(len, out.splitlines())) <= 100
    assert shell("type", "show", "nope")[0] == 2
