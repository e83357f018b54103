"""The commands about networks, about what happened, and about what is not well, word for word."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster
from tests.unit.server.networks import make_networks, say_reach

from quorate.cli.commands.moments import parse_moment, parse_sequence, rfc3339
from quorate.cli.main import run
from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NodeId
from quorate.server.inspection import NodeHealth

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


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
        out = "\n".join(part.rstrip() for part in out.splitlines())
        assert "--json" in line or all(len(part) <= 100 for part in out.splitlines()), out
        return code, out.strip("\n"), err


@pytest.fixture
def shell(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


# --- Networks ------------------------------------------------------------------------------------------------------

NETWORKS = """\
 Network             Subnets       State   Used by   Metric   Nodes   Why
 ────────────────────────────────────────────────────────────────────────
 Cluster Network 1   10.0.0.0/24   Up      all        70240       2
 Cluster Network 2   10.1.0.0/24   Up      all        70256       2"""

INTERFACES = """\
 Interface      Network             State    Addresses     Why
 ───────────────────────────────────────────────────────────────────────────────────────────────
 node1 - eth0   Cluster Network 1   Up       10.0.0.1/24
 node1 - eth1   Cluster Network 2   Failed   10.1.0.1/24   its link is down or it has no address
 node2 - eth0   Cluster Network 1   Up       10.0.0.2/24
 node2 - eth1   Cluster Network 2   Up       10.1.0.2/24"""


def test_a_cluster_without_networks_says_so(shell: Shell) -> None:
    code, out, _ = shell("network list")
    assert (code, out.startswith("No networks were found")) == (0, True)
    assert "etworks" not in shell("status")[1], "nothing confusing where there is nothing"
    assert json.loads(shell("network list --json")[1]) == {"networks": []}


def test_networks_and_interfaces_are_listed(world: FakeWorld, shell: Shell) -> None:
    make_networks(world)
    assert shell("network list") == (0, NETWORKS, "")
    assert "etworks" not in shell("status")[1], "well ones are no news"
    say_reach(world, "1", links={"eth1": False})
    assert shell("interface list") == (0, INTERFACES, "")
    assert "Networks that are not well" in shell("status")[1]
    assert "the link of node1 is down" in " ".join(shell("status")[1].split())
    found = json.loads(shell("interface list --json")[1])["interfaces"]
    assert [one["state_name"] for one in found] == ["UP", "FAILED", "UP", "UP"]


def test_a_network_is_shown_and_changed(world: FakeWorld, shell: Shell) -> None:
    make_networks(world)
    world_name = "Cluster Network 1"
    assert run(["network", "show", world_name]) == 0
    assert run(["network", "set", world_name, "Role=1", "Name=LAN"]) == 0
    code, out, _ = shell("network set LAN Metric=5")
    assert (code, out) == (0, '"LAN": Metric = 5')
    shown = json.loads(shell("network show LAN --json")[1])
    assert (shown["role"], shown["metric"], shown["auto_metric"]) == (1, 5, False)
    assert shown["properties"]["Address"] == "10.0.0.0"
    code, _, err = shell("network set nowhere Role=1")
    assert (code, "5045" in err) == (2, True)
    assert run(["network", "set", "Cluster Network 2", "Role=0"]) == 0
    code, _, err = shell("network set LAN Role=0")
    assert (code, "5066 ERROR_CLUSTER_LAST_INTERNAL_NETWORK" in err) == (1, True)


# --- Events --------------------------------------------------------------------------------------------------------


def test_events_are_asked_for_by_time_kind_object_and_node(shell: Shell) -> None:
    shell("vm create web1 --guest builtin")
    shell("vm create web2 --guest builtin")
    for option in ("--since 1h", "--since 1h --kind vm", "--kind vm.created", "--since 2026-01-01 --node node1"):
        kinds = [json.loads(line)["kind"] for line in shell(f"events --json {option}")[1].splitlines()]
        assert "vm.created" in kinds, option
    about = [json.loads(line)["object_name"] for line in shell("events --json --object web1")[1].splitlines()]
    assert set(about) == {"web1"}
    assert shell("events --until 1h")[1] == ""
    last = json.loads(shell("events --json")[1].splitlines()[-1])["sequence"]
    assert [json.loads(line)["sequence"] for line in shell(f"events --json --since {last}")[1].splitlines()] == [last]
    (line, *_) = shell("events --limit 1")[1].splitlines()
    assert " node1 " in line
    assert "vm.created" in line
    code, _, err = shell("events --kind vm.creatd")
    assert (code, "do you mean vm.created" in err) == (2, True)
    assert shell("events --since someday")[0] == 2


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("15 m", NOW - timedelta(minutes=15)),
        ("2H", NOW - timedelta(hours=2)),
        ("1.5d", NOW - timedelta(days=1.5)),
        ("1w", NOW - timedelta(weeks=1)),
        ("2026-11-22T10:00:00Z", NOW - timedelta(hours=2)),
        ("2026-11-22T10:00+01:00", NOW - timedelta(hours=3)),
    ],
)
def test_moments_as_people_type_them(text: str, moment: datetime) -> None:
    assert parse_moment("--since", text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "2x", "2026-13-01", "999999999999w", "-1h"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(CallerError) as caught:
        parse_moment("--since", text, NOW)
    assert caught.value.status == 87


def test_sequences_and_times() -> None:
    assert (parse_sequence("17"), parse_sequence("2h"), parse_sequence("²")) == (17, None, None)
    assert rfc3339(NOW) == "2026-11-22T12:00:00Z"
    local = datetime(2026, 11, 22, 10).astimezone(UTC)
    assert parse_moment("--since", "2026-11-22T10:00", NOW) == local, "without a zone it is this machine's"


# --- Validation ----------------------------------------------------------------------------------------------------


def test_a_cluster_that_is_well_is_0_and_one_that_is_not_is_1(world: FakeWorld, shell: Shell) -> None:
    code, out, _ = shell("validate")
    assert (code, out.endswith("Everything is well.")) == (0, True), out
    assert shell("validate --problems") == (0, "Everything is well.", "")
    world.health[NodeId("2")] = NodeHealth(0.0, "1.0", guard=False)
    code, out, _ = shell("validate --problems")
    assert code == 1
    assert "node2 has no live guard" in " ".join(out.split())
    assert "checks failed" in out
    found = json.loads(shell("validate --json")[1])
    assert found["verdict"] == "failed"
    assert {"rule", "verdict", "measured", "sentence", "remedy"} == set(found["findings"][0])
