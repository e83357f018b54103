"""`quorate vm migrate --dry-run` on a real QEMU: what is seen of the guest, what is refused, and what a move adds."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.system.pocket_cluster import PocketCluster
from tests.system.shell import Shell

from quorate.clusapi.json_types import JsonObject, json_float, json_int, json_object, json_text

MIB = 1 << 20
FILLED, WRITTEN, RATE = 40 * MIB, 20 * MIB, 8_000_000
REFUSED, NOT_POSSIBLE = 1, 2


@dataclass(frozen=True, slots=True)
class Desk:
    shell: Shell
    cluster: PocketCluster

    def forecast(self, destination: str = "node2") -> JsonObject:
        answer = self.cluster.call("ForecastMove", vm="web1", destination=destination)
        assert answer.number("status") == 0, answer.text("sentence")
        return answer.json("forecast")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    place = tmp_path_factory.mktemp("desk")
    cluster = PocketCluster(place / "cluster", 2)
    try:
        cluster.start()
        cluster.trust_all()
        guest: JsonObject = {
            "kind": "builtin",
            "beat_hz": 100,
            "fill_bytes": FILLED,
            "dirty_bytes": WRITTEN,
            "dirty_bytes_per_second": RATE,
        }
        definition: JsonObject = {"memory": "160M", "guest": guest}
        cluster.call("CreateVirtualMachine", name="web1", definition=definition, node="node1")
        yield Desk(Shell(place, cluster.directory), cluster)
    finally:
        cluster.end()


def test_a_machine_that_is_off_is_refused_as_the_migration_would_be(desk: Desk) -> None:
    answer = desk.cluster.call("ForecastMove", vm="web1", destination="node2")
    assert (answer.number("status"), dict(answer.json("forecast"))) == (5023, {})
    refused = {json_text(one, "rule") for one in answer.objects("findings") if json_text(one, "verdict") == "refuses"}
    assert refused == {"running"}
    shown = desk.shell.run("vm", "migrate", "web1", "--to", "node2", "--dry-run", code=REFUSED)
    real = desk.shell.run("vm", "migrate", "web1", "--to", "node2", code=REFUSED)
    assert all("5023 ERROR_INVALID_STATE" in one.err for one in (shown, real))
    assert "running   refuses   off" in shown.out
    desk.shell.run("vm", "migrate", "web1", "--to", "node9", "--dry-run", code=NOT_POSSIBLE)


def test_a_guest_is_seen_as_it_is_and_its_move_is_foretold(desk: Desk) -> None:
    desk.shell.run("vm", "start", "web1")

    def is_filled() -> bool:
        known = json_object(desk.forecast(), "known")
        return abs(json_int(known, "in_use") - FILLED - WRITTEN) < 4 * MIB and abs(_likely(known) / RATE - 1) < 0.5

    desk.cluster.wait(is_filled, 60, "the guest has filled its memory and writes as fast as it was told to")
    forecast = desk.forecast()
    known = json_object(forecast, "known")
    assert json_int(known, "memory") >= 160 * MIB
    assert json_float(json_object(known, "working_set"), "likely") <= FILLED + WRITTEN + 4 * MIB
    seconds, gap = json_object(forecast, "seconds"), json_object(forecast, "gap_ms")
    assert 0 < json_float(seconds, "low") <= json_float(seconds, "likely") <= json_float(seconds, "high") < 60
    assert 0 < json_float(gap, "likely") < 1000 * json_float(seconds, "likely")
    assert desk.cluster.owner("web1") == "node1"
    shown = desk.shell.run("vm", "migrate", "web1", "--to", "node2", "--dry-run").out
    assert shown.startswith('"web1" from node1 to node2: converges\n')
    assert "in use and writes" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_a_real_move_is_kept_with_its_forecast_and_seen_to_live(desk: Desk) -> None:
    desk.shell.run("vm", "migrate", "web1", "--to", "node2")
    desk.cluster.wait(lambda: _is_written(desk), 30, "both ends have written what they know")
    (found,) = desk.cluster.call("ListMigrations", vm="web1").objects("migrations")
    assert found["result"] == "moved"
    assert json_text(json_object(found, "forecast"), "verdict") == "converges"
    off = json_object(found, "off_by")
    assert off["verdict"] is True
    assert {"seconds_percent", "gap_ms"} <= set(off)
    assert 0 < json_float(found, "alive_after") < 2.0
    assert f"{json_float(off, 'seconds_percent'):+.0f}%" in desk.shell.run("migrations").out


def _likely(known: JsonObject) -> float:
    return json_float(json_object(known, "dirty_bytes_per_second"), "likely")


def _is_written(desk: Desk) -> bool:
    return any(one.get("gap_ms") is not None for one in desk.cluster.call("ListMigrations").objects("migrations"))
