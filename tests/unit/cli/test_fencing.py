"""`quorate node fence`, `fence-test` and `confirm-off`: what they say, and what they ask."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.server.agents import FakeAgent
from tests.unit.server.fake import FakeWorld, running_fake_cluster
from tests.unit.server.test_members import NODE2, on, take_down

from quorate.cli.main import run

SUCCESS, REFUSAL, MISTAKE, FAULT = 0, 1, 2, 3
Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 3) as world:
        monkeypatch.setenv("QUORATE_CLUSTER", str(tmp_path))
        yield world


@pytest.fixture
def agent(world: FakeWorld) -> FakeAgent:
    return FakeAgent(world.directory / "agents")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    def type_(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(words))
        out, err = capsys.readouterr()
        return code, out.strip(), err.strip()

    return type_


def test_an_agent_is_given_shown_tested_and_taken_away(
    world: FakeWorld, shell: Shell, agent: FakeAgent, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("# of the BMC\n\npassword = s3cret with=sign\n", encoding="utf-8")
    given = shell("node", "fence", "node2", "--agent", agent.NAME, "--option", "plug=2", "--options-from", str(secrets))
    assert given == (
        SUCCESS,
        "node2 is switched off by fence_fake when it is dead\nnext: quorate node fence-test node2",
        "",
    )
    (known,) = on(world, lambda database: database.fences.of(NODE2))
    assert known.options == {"plug": "2", "password": " s3cret with=sign"}
    code, out, _ = shell("node", "fence", "node2")
    assert (code, "password, plug" in out, "s3cret" in out) == (SUCCESS, True, False)
    code, out, _ = shell("node", "fence-test", "node2", "--on", "node3")
    assert (code, out) == (
        SUCCESS,
        "1 fence_fake: works, power on: fence_fake says that it is on\ntested on node3",
    )
    agent.set("2", "broken")
    code, out, _ = shell("node", "fence-test", "node2", "--json")
    assert (code, json.loads(out)["results"][0]["works"]) == (FAULT, False)
    assert "s3cret" not in out
    assert shell("node", "fence", "node2", "--remove")[0] == SUCCESS
    assert shell("node", "fence", "node2")[1] == "node2 has no fence agent: the end of its lease decides"
    assert shell("node", "fence-test", "node2")[0] != SUCCESS


def test_options_are_read_from_standard_input(
    world: FakeWorld, shell: Shell, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("password=s3cret\n"))
    assert shell("node", "fence", "node2", "--agent", agent.NAME, "--options-from", "-")[0] == SUCCESS
    (known,) = on(world, lambda database: database.fences.of(NODE2))
    assert known.options == {"password": "s3cret"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--option", "plug=2"), "--agent is missing"),
        (("--agent", "fence_fake", "--option", "plug"), "an option is NAME=VALUE; 'plug' is not"),
        (("--agent", "fence_fake", "--options-from", "/none"), "--options-from /none cannot be read"),
        (("--agent", "fence_fake", "--level", "3"), "level: 3 is not 1 to 1"),
        (("--remove",), "node2 has no fence agent"),
    ],
)
def test_what_is_mistyped_is_told(
    world: FakeWorld, shell: Shell, agent: FakeAgent, words: tuple[str, ...], reason: str
) -> None:
    code, _, err = shell("node", "fence", "node2", *words)
    assert (code, reason in err) == (MISTAKE, True), err


def test_a_word_that_a_node_is_off_is_asked_for_twice(world: FakeWorld, shell: Shell) -> None:
    take_down(world, NODE2, ended=False)
    code, _, err = shell("node", "confirm-off", "node2")
    assert (code, "Have you made sure that node2 is switched off?" in err) == (MISTAKE, True)
    assert shell("node", "confirm-off", "node2", "--yes") == (SUCCESS, "node2 is down: others take over", "")
    lease = on(world, lambda database: database.get_lease(NODE2))
    assert lease is not None
    assert lease.value.ended
    code, _, err = shell("node", "confirm-off", "node1", "--yes")
    assert (code, "it is not off" in err) == (REFUSAL, True)
