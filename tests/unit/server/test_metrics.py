"""GET /metrics: what monitoring reads, in the text format of Prometheus."""

import asyncio
import http.client
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.client.blocking import BlockingClient
from quorate.clusapi.identity import NodeId, SessionId
from quorate.database.contract import StoreUnavailable
from quorate.database.migration_history import Arrival, Departure, Result

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? ([0-9.e+-]+)')


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 2) as world:
        client = BlockingClient.at(str(tmp_path))
        client.call("CreateVirtualMachine", name="web1", definition={"memory": "64M"}, node="node1")
        yield world


def scrape(world: FakeWorld, **headers: str) -> dict[str, float]:
    """Read the page as strictly as Prometheus does: samples by name and labels, each family described before."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(world.directory / "node1.sock"))
    connection.request("GET", "/metrics", headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert text.endswith("\n")
    found: dict[str, float] = {}
    described: list[str] = []
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            described.append(line.split()[2])
            assert line.endswith(" gauge")
        if line.startswith("#"):
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample is not None, line
        assert sample[1] == described[-1]
        key = sample[1] + (sample[2] or "")
        assert key not in found
        found[key] = float(sample[3])
    assert len(set(described)) == len(described)
    return found


def remember(world: FakeWorld, number: int, result: Result = Result.MOVED, forecast: float | None = None) -> None:
    """One that took ``number`` seconds, with a gap of 34 ms and a limit of 20 or 300 ms."""
    database = world.nodes[NodeId("1")].database
    group = asyncio.run(database.snapshot()).group("web1").id
    ended = NOW + timedelta(hours=number)
    departure = Departure(
        *(group, "web1", "node1", "node2", "alice", ended, result.value),
        sentence="",
        mode="pre-copy",
        transferred=number << 20,
        passes=3,
        started=ended,
        seconds=float(number),
        stood=0.030,
        gap_limit=0.02 if number == 1 else 0.3,
        forecast=None
        if forecast is None
        else {"verdict": "converges", "seconds": {"likely": forecast}, "gap_ms": {"likely": 30.0}},
    )
    session = SessionId(f"s{number}")
    asyncio.run(database.migrations.add_departure(session, departure))
    if result is Result.MOVED:
        asyncio.run(database.migrations.add_arrival(session, Arrival(group, "web1", "node1", "node2", ended, 0.004)))


def test_states_are_told_by_node_and_machine(world: FakeWorld) -> None:
    found = scrape(world)
    assert found['quorate_cluster_info{cluster="pocket"}'] == 1
    assert found["quorate_database_answers"] == 1
    assert found['quorate_node_up{node="node1"}'] == found['quorate_node_up{node="node2"}'] == 1
    assert found['quorate_node_state{node="node1",state="up"}'] == 1
    assert found['quorate_vm_state{vm="web1",node="node1",state="off"}'] == 1
    assert found['quorate_vm_migrating{vm="web1",node="node1"}'] == 0
    assert found['quorate_migrations{result="moved"}'] == 0
    assert not any("last_migration" in key or key.endswith("_max") for key in found), "there was none"
    BlockingClient.at(str(world.directory)).call("PauseNode", node="node2")
    found = scrape(world, **{"quorate-access": "read"})
    assert found['quorate_node_state{node="node2",state="paused"}'] == found['quorate_node_up{node="node2"}'] == 1


def test_migrations_are_counted_by_what_came_of_them_with_their_figures(world: FakeWorld) -> None:
    remember(world, 1, forecast=1.5)
    remember(world, 2, Result.FAILED, forecast=1.0)
    remember(world, 3, forecast=2.4)
    remember(world, 4)
    found = scrape(world)
    assert (found['quorate_migrations{result="moved"}'], found['quorate_migrations{result="failed"}']) == (3, 1)
    assert found['quorate_migrations{result="lost"}'] == 0
    assert (found["quorate_migrations_seconds_sum"], found["quorate_migrations_seconds_count"]) == (8, 3)
    assert found["quorate_migrations_seconds_max"] == 4
    assert found["quorate_migrations_bytes_sum"] == 8 << 20
    assert found["quorate_migrations_gap_seconds_max"] == pytest.approx(0.034)
    assert found["quorate_migrations_gap_limit_broken"] == 1
    assert found["quorate_migrations_forecast_error_ratio_sum"] == pytest.approx(0.5 + 0.2)
    assert found["quorate_migrations_forecast_error_ratio_count"] == 2
    assert found["quorate_migrations_forecast_gap_error_seconds_max"] == pytest.approx(0.004)
    assert (
        found['quorate_migrations_foretold{verdict="right"}'],
        found['quorate_migrations_foretold{verdict="wrong"}'],
    ) == (2, 1)
    last = 'quorate_vm_last_migration_{}{{vm="web1",result="moved"}}'
    assert found[last.format("seconds")] == 4
    assert found[last.format("end_time_seconds")] == (NOW + timedelta(hours=4)).timestamp()
    assert last.format("forecast_error_ratio") not in found, "nothing was foretold of it"


def test_names_are_escaped_and_a_silent_database_hides_no_states(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = BlockingClient.at(str(world.directory))
    client.call("CreateVirtualMachine", name='a "b\\', definition={"memory": "64M"}, node="node1")
    assert scrape(world)['quorate_vm_state{vm="a \\"b\\\\",node="node1",state="off"}'] == 1

    async def silent() -> object:
        raise StoreUnavailable("the test has silenced the database")

    for node in world.nodes.values():
        monkeypatch.setattr(node.database.migrations, "select", silent)
    found = scrape(world)
    assert found["quorate_database_answers"] == 0
    assert found['quorate_node_up{node="node1"}'] == 1
