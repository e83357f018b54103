"""AssessMove and ListMigrations, by way of HTTP and of `quorate why-not` and `quorate migrations`."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.cli.main import run
from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NodeId, SessionId
from quorate.clusapi.json_types import JsonObject, json_objects
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status
from quorate.database.migration_history import Arrival, Departure, Result
from quorate.engine.selection import Judged
from quorate.migration.preflight import Candidate
from quorate.migration.rules import Finding

TWO, THREE = NodeId("2"), NodeId("3")
NOW = datetime.now(UTC)
FULL = Status.ERROR_CLUSTER_RESOURCE_VETOED_MOVE_NOT_ENOUGH_RESOURCES_ON_DESTINATION
Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 3) as world:
        monkeypatch.setenv("QUORATE_CLUSTER", str(tmp_path))
        monkeypatch.setenv("COLUMNS", "100")
        definition: JsonObject = {"memory": "64M"}
        client = BlockingClient.at(str(tmp_path))
        client.call("CreateVirtualMachine", name="web1", definition=definition, node="node1")
        yield world


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    def type_(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(words))
        out, err = capsys.readouterr()
        return code, out.strip(), err.strip()

    return type_


def judged(node: NodeId, *findings: Finding) -> Judged:
    candidate = Candidate(node, f"node{node}", NodeState.UP, isolated=False, possible_owner=True)
    return Judged(candidate, (Finding.ok("node up", "up"), *findings), 5 << 30)


def refused(rule: str, status: Status, sentence: str) -> Finding:
    return Finding.refuses(rule, "measured so", status, sentence, f"mend the {rule}")


DOUBT = Finding.warns("clock", "+2.0 s", "the clock of node2 is 2.0 s ahead")
BROKEN = refused("disks", Status.ERROR_CLUSTER_RESOURCE_VETOED_MOVE_INCOMPATIBLE_NODES, "node3: no disk")
SMALL = refused("free memory", FULL, "node3: no memory")


def test_every_node_is_told_with_the_first_refusal_in_front(world: FakeWorld) -> None:
    world.judged = [judged(THREE, BROKEN, SMALL), judged(TWO, DOUBT)]
    client = BlockingClient.at(str(world.directory / "node2.sock"))  # it goes to the owner, whoever is asked
    answer = client.call("AssessMove", full_access=False, vm="web1")
    two, three = answer.objects("nodes")
    assert (answer.text("vm"), answer.text("node")) == ("web1", "node1")
    assert (two["name"], two["possible"], two["status"], two["sentence"]) == ("node2", True, 0, "")
    assert (three["name"], three["possible"], three["status"], three["sentence"]) == (
        *("node3", False),
        *(5953, "node3: no disk"),
    )
    assert [found["status"] for found in json_objects(three, "findings")] == [0, 5953, 5957]
    assert three["memory_free"] == str(5 << 30)
    (only,) = client.call("AssessMove", full_access=False, vm="web1", destination="3").objects("nodes")
    assert only["name"] == "node3", "a node by its id too"


def test_a_machine_that_is_not_there(world: FakeWorld) -> None:
    with pytest.raises(CallerError):
        BlockingClient.at(str(world.directory)).call("AssessMove", vm="web9")


def test_why_not_lists_each_rule(world: FakeWorld, shell: Shell) -> None:
    world.judged = [judged(TWO, DOUBT), judged(THREE, BROKEN, SMALL)]
    code, out, _ = shell("why-not", "web1", "node3")
    assert code == 1
    assert all(word in out for word in ("node up", "ok", "disks", "refuses", "measured so", "Try: mend the disks"))
    assert "2 rules refuse; START would answer 5953" in out
    code, out, _ = shell("why-not", "web1", "node3", "--problems")
    assert "node up" not in out
    code, out, _ = shell("why-not", "web1", "node2")
    assert code == 0
    assert '"web1" can be moved from node1 to node2: quorate vm migrate web1 --to node2' in out
    assert max(map(len, out.splitlines())) <= 100


def test_why_not_without_a_node_has_a_line_for_each(world: FakeWorld, shell: Shell) -> None:
    world.judged = [judged(TWO, DOUBT), judged(THREE, BROKEN, SMALL)]
    code, out, _ = shell("why-not", "web1")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["node2", "yes"] in [line[:2] for line in lines]
    assert ["node3", "no"] in [line[:2] for line in lines]
    assert "node3: no disk (and 1 more)" in out
    world.judged = [judged(THREE, BROKEN)]
    assert shell("why-not", "web1")[0] == 1, "it can go nowhere"
    code, out, _ = shell("why-not", "web1", "--json")
    assert [node["name"] for node in json.loads(out)["nodes"]] == ["node3"]


# --- what was ------------------------------------------------------------------------------------------------------


def remember(world: FakeWorld, number: int, hours: float, result: Result = Result.MOVED) -> None:
    database = world.nodes[NodeId("1")].database
    group = asyncio.run(database.snapshot()).group("web1").id
    ended = NOW - timedelta(hours=hours)
    departure = Departure(
        *(group, "web1", "node1", "node2", "alice", ended, result.value),
        sentence="" if result is Result.MOVED else "it broke",
        mode="pre-copy",
        transferred=300 << 20,
        passes=number,
        started=ended,
        seconds=1.25,
        stood=0.030,
    )
    session = SessionId(f"s{number}")
    asyncio.run(database.migrations.add_departure(session, departure))
    if result is Result.MOVED:
        asyncio.run(database.migrations.add_arrival(session, Arrival(group, "web1", "node1", "node2", ended, 0.004)))


def test_migrations_are_listed_as_people_ask_for_them(world: FakeWorld, shell: Shell) -> None:
    assert shell("migrations") == (0, "no migration is over that would be remembered", "")
    remember(world, 1, 50)
    remember(world, 2, 2, Result.FAILED)
    remember(world, 3, 1)
    code, out, _ = shell("migrations", "--vm", "web1")
    assert code == 0
    assert all(word in out for word in ("node1", "node2", "moved", "1.25 s", "34 ms", "300.0 MiB", "in 3", "alice"))
    assert "web1 failed: it broke" in out
    assert f"{NOW - timedelta(hours=1):%Y-%m-%d %H:%M:%S}" in out, "on one line"
    assert max(map(len, out.splitlines())) <= 100

    def passes(*words: str) -> list[int]:
        return [one["passes"] for one in json.loads(shell("migrations", "--json", *words)[1])["migrations"]]

    assert passes() == [1, 2, 3]
    assert passes("--limit", "2") == [2, 3]
    assert passes("--since", "3h") == [2, 3]
    assert passes("--since", "3h", "--limit", "1") == [2]
    assert passes("--since", "1") == [1, 2, 3]
    assert passes("--vm", "web9") == []
    code, _, err = shell("migrations", "--since", "tomorrow-ish")
    assert (code, "--since" in err) == (2, True)


def test_a_machine_that_is_gone_is_found_by_the_name_it_had(world: FakeWorld) -> None:
    remember(world, 1, 1)
    client = BlockingClient.at(str(world.directory))
    client.call("DeleteVirtualMachine", vm="web1", turn_off=True)
    (found,) = client.call("ListMigrations", full_access=False, vm="WEB1").objects("migrations")
    assert found["vm"] == "web1"
    with pytest.raises(CallerError):
        client.call("ListMigrations", since="tomorrow")
