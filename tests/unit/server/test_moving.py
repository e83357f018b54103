"""AssessMove and ListMigrations, by way of HTTP and of `quorate why-not` and `quorate migrations`."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.cli.main import run
from quorate.client.blocking import BlockingClient
from quorate.client.objects import connect
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.identity import NodeId, SessionId
from quorate.clusapi.json_types import JsonObject, json_objects
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status
from quorate.database.migration_history import Arrival, Departure, Result
from quorate.engine.foresight import Foretold
from quorate.engine.outgoing_migrations import DryRun
from quorate.engine.selection import Judged
from quorate.migration.forecast import Forecast, Range, Word
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


def test_only_problems_are_shown_also_to_programs_and_without_a_node(world: FakeWorld, shell: Shell) -> None:
    world.judged = [judged(TWO), judged(THREE, BROKEN, DOUBT)]

    def rules(*words: str) -> dict[str, list[str]]:
        nodes = json.loads(shell("why-not", "web1", *words, "--json")[1])["nodes"]
        return {node["name"]: [finding["rule"] for finding in node["findings"]] for node in nodes}

    assert rules("node3", "--problems") == {"node3": ["disks", "clock"]}
    assert rules("node2", "--problems") == {"node2": []}
    assert rules("--problems") == {"node3": ["disks", "clock"]}
    assert rules() == {"node2": ["node up"], "node3": ["node up", "disks", "clock"]}
    code, out, _ = shell("why-not", "web1", "--problems")
    assert (code, "node2" in out, "node3: no disk" in out) == (0, False, True)
    world.judged = [judged(TWO), judged(THREE)]
    code, out, _ = shell("why-not", "web1", "--problems")
    assert (code, out) == (0, 'nothing stands in the way of "web1" to any other node')
    world.judged = []
    assert shell("why-not", "web1", "--problems")[1] == "there is no other node"
    world.judged = [judged(THREE, BROKEN)]
    assert shell("why-not", "web1", "--problems", "--json")[0] == 1


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


def remember(
    world: FakeWorld,
    number: int,
    hours: float,
    result: Result = Result.MOVED,
    mode: str = "pre-copy",
    throttle: int = 0,
) -> None:
    database = world.nodes[NodeId("1")].database
    group = asyncio.run(database.snapshot()).group("web1").id
    ended = NOW - timedelta(hours=hours)
    departure = Departure(
        *(group, "web1", "node1", "node2", "alice", ended, result.value),
        sentence="" if result is Result.MOVED else "it broke",
        mode=mode,
        policy="default",
        throttle=throttle,
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


# --- what would be ---------------------------------------------------------------------------------------------------


def foretold(**changes: object) -> Foretold:
    """A forecast of a guest of 512 MiB over 1 Gb/s."""
    figures: dict[str, Any] = {
        "word": Word.CONVERGES,
        "policy": "default",
        "mode": "pre-copy, 2 channels",
        "total": Range(3.4, 4.25, 5.1),
        "gap": Range(0.07, 0.103, 0.134),
        "passes": Range(5.0, 6.0, 7.0),
        "transferred": Range(4e8, 5e8, 6e8),
    }
    known: JsonObject = {
        "memory": 512 << 20,
        "in_use": 320 << 20,
        "dirty_bytes_per_second": {"likely": 60e6},
        "working_set": {"likely": 64 << 20},
        "link_bytes_per_second": {"likely": 119e6},
        "past_moves": 3,
        "writing": "watched for 4.2 s, 0 s ago",
        "link": "tried 5 s ago",
    }
    return Foretold(Forecast(**(figures | changes)), known)


def test_a_dry_run_shows_each_figure_with_its_range_and_where_it_comes_from(world: FakeWorld, shell: Shell) -> None:
    world.dry_run = DryRun("node2", (Finding.ok("node up", "up"), DOUBT), None, foretold())
    code, out, _ = shell("vm", "migrate", "web1", "--to", "node2", "--dry-run")
    assert code == 0
    assert out.startswith('"web1" from node1 to node2: converges')
    assert all(word in out for word in ("4.25 s", "3.40 s", "5.10 s", "103 ms", "policy default", "3 earlier moves"))
    assert "Note: the clock of node2 is 2.0 s ahead" in out
    assert max(map(len, out.splitlines())) <= 100
    world.dry_run = DryRun("node2", (), None, foretold(throttle=60))
    assert "its processors held back by 60 %" in shell("vm", "migrate", "web1", "--dry-run")[1]
    told = json.loads(shell("vm", "migrate", "web1", "--dry-run", "--json")[1])
    assert told["forecast"]["seconds"] == {"low": 3.4, "likely": 4.25, "high": 5.1}
    assert told["forecast"]["gap_ms"]["likely"] == 103.0
    assert (told["destination"], told["status"]) == ("node2", 0)


def test_a_dry_run_is_asked_for_with_the_policy_and_the_limit_of_the_move(world: FakeWorld, shell: Shell) -> None:
    world.dry_run = DryRun("node2", (), None, foretold(mode="pre-copy, 2 channels, at most 50 MiB/s"))
    line = ("vm", "migrate", "web1", "--to", "node2", "--dry-run", "--policy", "gentle", "--bandwidth-limit", "50")
    assert "at most 50 MiB/s" in shell(*line)[1]
    shell("vm", "migrate", "web1", "--dry-run")
    assert world.dry_runs == [("node2", "gentle", 50), (None, "", 0)]
    for wrong in ("-1", "1048577"):
        assert shell("vm", "migrate", "web1", "--dry-run", f"--bandwidth-limit={wrong}")[0] == 2
    with pytest.raises(CallerError) as refused:
        BlockingClient.at(str(world.directory)).call("ForecastMove", vm="web1", bandwidth_limit=(1 << 20) + 1)
    assert refused.value.status == 87
    assert len(world.dry_runs) == 2


def test_a_dry_run_that_foretells_no_end_says_why(world: FakeWorld, shell: Shell) -> None:
    sentence = "it will not converge under the policy gentle, because …; it would under default"
    hopeless = foretold(word=Word.WILL_NOT, policy="gentle", gap=Range.exactly(0.0), sentence=sentence)
    world.dry_run = DryRun("node2", (), None, hopeless)
    code, out, _ = shell("vm", "migrate", "web1", "--dry-run")
    assert code == 1
    assert "it would under default" in " ".join(out.split())
    assert "until it is given up" in out
    assert "gap" not in out
    world.dry_run = DryRun("node2", (), None, Foretold(None, {}, "it is not known how fast it writes its memory"))
    code, out, _ = shell("vm", "migrate", "web1", "--dry-run")
    assert code == 0
    assert "nothing is foretold: it is not known how fast" in " ".join(out.split())


def test_a_dry_run_is_refused_as_the_move_would_be_with_every_rule_that_fails(world: FakeWorld, shell: Shell) -> None:
    world.dry_run = DryRun("node3", (Finding.ok("node up", "up"), BROKEN, SMALL), BROKEN.error(), None)
    code, out, err = shell("vm", "migrate", "web1", "--to", "node3", "--dry-run")
    assert code == 1
    assert "node3: no disk" in err
    assert "5953" in err
    assert all(word in out for word in ("disks", "free memory", "mend the disks"))
    assert "node up" not in out


async def _forecast_by_object(world: FakeWorld) -> JsonObject:
    async with connect(str(world.directory)) as cluster:
        return await (await cluster.virtual_machine("web1")).forecast_migration("node2")


def test_the_object_raises_what_start_would(world: FakeWorld) -> None:
    world.dry_run = DryRun("node2", (), None, foretold())
    assert asyncio.run(_forecast_by_object(world))["verdict"] == "converges"
    world.dry_run = DryRun("node2", (SMALL,), SMALL.error(), None)
    with pytest.raises(RefusalError) as refused:
        asyncio.run(_forecast_by_object(world))
    assert refused.value.status == FULL


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


def test_the_table_of_migrations_says_how_each_was_made_to_end(world: FakeWorld, shell: Shell) -> None:
    remember(world, 1, 3, mode="pre-copy, 2 channels, TLS, by fast", throttle=96)
    remember(world, 2, 2, mode="pre-copy, 1 stream, TLS, by fast, then post-copy")
    remember(world, 3, 1, Result.FAILED)
    out = shell("migrations")[1]
    assert max(map(len, out.splitlines())) <= 100
    rows = [" ".join(row.split()) for row in re.split(r"\n(?= ?20\d\d-)", out)]

    def below(number: int) -> str:
        (found,) = [row for row in rows if f"in {number}" in row]
        return found

    assert all(word in below(1) for word in (" default ", "2 channels, TLS ", "by fast ", "held back 96 %"))
    assert "then post-copy" in below(2)
    assert " default " in below(3)
    assert out.count("held back") == 1
    assert out.count("post-copy") == 1


def test_a_machine_that_is_gone_is_found_by_the_name_it_had(world: FakeWorld) -> None:
    remember(world, 1, 1)
    client = BlockingClient.at(str(world.directory))
    client.call("DeleteVirtualMachine", vm="web1", turn_off=True)
    (found,) = client.call("ListMigrations", full_access=False, vm="WEB1").objects("migrations")
    assert found["vm"] == "web1"
    with pytest.raises(CallerError):
        client.call("ListMigrations", since="tomorrow")
