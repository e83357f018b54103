"""The commands of clusters of several machines: what they say, and what they ask."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.unit.peers.certificates import Authorities
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.cli.main import run
from quorate.client.address import node_addresses
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.clusapi.versions import PROGRAM_LEVELS, LevelRange
from quorate.database import keys
from quorate.database.contract import Put
from quorate.database.member_records import AuthorityRecord
from quorate.database.records import NodeFacts
from quorate.peers.join_token import JoinWord
from quorate.service import members
from quorate.service.machine import Machine

NODE1 = NodeId("1")
LEVEL = PROGRAM_LEVELS.highest
PLACE = ["--node", "n1", "--listen", "192.0.2.1:7443", "--peers", "192.0.2.1:7444"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 3) as world:
        monkeypatch.setenv("QUORATE_CLUSTER", str(tmp_path))
        yield world


Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    def type_(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(words))
        out, err = capsys.readouterr()
        return code, out.strip(), err.strip()

    return type_


def in_several_machines(world: FakeWorld, levels: LevelRange = PROGRAM_LEVELS) -> None:
    """Give the fake cluster what a cluster of several machines has."""

    async def write() -> None:
        database, authorities = world.nodes[NODE1].database, Authorities.make()
        record = AuthorityRecord(authorities.nodes.certificate_pem.decode(), authorities.nodes.key_pem.decode())
        await database.store.transact([], [Put(keys.NODES_AUTHORITY, record.encode())])
        await database.write_node_facts(NODE1, NodeFacts("unix:/h", "tcp:192.0.2.1:7444", 1, "0.1.0"))
        for node in world.nodes:
            await database.members.note_levels(node, levels)

    asyncio.run(write())


def test_a_token_is_the_only_line_on_standard_output(world: FakeWorld, shell: Shell) -> None:
    in_several_machines(world)
    code, out, err = shell("node", "token", "--lifetime", "30m")
    assert (code, JoinWord.parse(out).addresses) == (0, ("192.0.2.1:7444",))
    assert err.startswith("good for one machine until 20")
    code, out, err = shell("--json", "node", "token")
    assert (code, set(json.loads(out)), err) == (0, {"token", "id", "expires"}, "")


@pytest.mark.parametrize("lifetime", ["soon", "-1h", "1w", "", "5s", "8d", "99999999999h"])
def test_a_lifetime_that_cannot_be_is_a_mistake(lifetime: str, world: FakeWorld, shell: Shell) -> None:
    in_several_machines(world)
    code, out, err = shell("node", "token", f"--lifetime={lifetime}")
    assert (code, out, "87 ERROR_INVALID_PARAMETER" in err) == (2, "", True)


def test_a_pocket_cluster_has_no_tokens(world: FakeWorld, shell: Shell) -> None:
    code, _, err = shell("node", "token")
    assert code == 1
    assert 'quorate cluster create" makes a cluster for several machines' in err


def test_an_eviction_asks_first(world: FakeWorld, shell: Shell) -> None:
    code, out, err = shell("node", "evict", "node3")
    assert (code, out) == (2, "")
    assert 'Evict the node "node3" from the cluster for good? Nobody is here to answer; add --yes' in err
    code, out, _ = shell("node", "evict", "node3", "--yes")
    assert (code, out) == (
        0,
        '"node3" is in the cluster no more; its daemon ends by itself as soon as it notices',
    )
    assert json.loads(shell("--json", "node", "evict", "node2", "--yes")[1]) == {
        "node": "node2",
        "evicted": True,
        "status": 0,
        "sentence": "",
    }
    code, _, err = shell("node", "evict", "node1", "--yes")
    assert (code, "5939" in err) == (1, True)


def test_a_cluster_is_renamed(world: FakeWorld, shell: Shell) -> None:
    assert shell("cluster", "rename", "blue") == (0, 'the cluster is called "blue" now', "")
    assert json.loads(shell("cluster", "show", "--json")[1])["name"] == "blue"
    assert json.loads(shell("--json", "cluster", "rename", "red")[1]) == {"cluster": "red", "status": 5024}


def test_an_upgrade_says_what_it_would_do_and_asks(world: FakeWorld, shell: Shell) -> None:
    in_several_machines(world)
    code, out, _ = shell("cluster", "upgrade")
    assert (code, out) == (
        0,
        f"the cluster is at functional level {LEVEL}, the highest that its nodes know; there is nothing to raise",
    )
    in_several_machines(world, LevelRange(LEVEL, LEVEL + 1))
    code, out, err = shell("cluster", "upgrade")
    assert (code, out) == (2, "")
    assert f"functional level {LEVEL} becomes {LEVEL + 1}; nodes with an older Quorate cannot join any more" in err
    assert shell("cluster", "upgrade", "--yes") == (0, f"the cluster is at functional level {LEVEL + 1} now", "")
    facts = json.loads(shell("--json", "cluster", "upgrade", "--yes")[1])
    assert (facts["level"], facts["raised"]) == (LEVEL + 1, False)


# --- What is typed on a machine that is no node yet ------------------------------------------------------------------


def test_create_and_join_hand_on_what_was_typed(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(
        name: str, endpoints: Sequence[str], files: members.EtcdFiles, machine: Machine, *, share_key: bool
    ) -> None:
        assert (name, endpoints, share_key) == ("Prod", ["https://a:1", "https://b:2"], False)
        assert files == members.EtcdFiles(Path("ca.pem"), Path("c.pem"), Path("k.pem"))
        assert (machine.name, str(machine.listen), str(machine.peers)) == ("n1", "192.0.2.1:7443", "192.0.2.1:7444")
        assert (machine.state, machine.saved, machine.runtime) == (tmp_path, Path("/s"), Path("/r"))
        assert machine.storage_roots == (Path("/a"), Path("/b"))
        raise RefusalError(Status.ERROR_CLUSTER_CANT_CREATE_DUP_CLUSTER_NAME, "there is one already")

    def join(token: str, machine: Machine, own: members.EtcdFiles) -> None:
        assert (token, machine.name, own) == ("word", "n1", members.EtcdFiles())
        raise RefusalError(Status.ERROR_CLUSTER_OBJECT_ALREADY_USED, "it was used")

    monkeypatch.setattr(members, "create", create)
    monkeypatch.setattr(members, "join", join)
    etcd = ["--etcd", "https://a:1,https://b:2", "--etcd-ca", "ca.pem", "--etcd-cert", "c.pem", "--etcd-key", "k.pem"]
    more = [
        "--state",
        str(tmp_path),
        "--storage-root",
        "/a",
        "--storage-root",
        "/b",
        "--saved",
        "/s",
        "--runtime",
        "/r",
    ]
    code, out, err = shell("cluster", "create", "Prod", *etcd, *PLACE, *more, "--no-share-etcd-key")
    assert (code, out) == (1, "")
    assert err == "refused: there is one already\n  status 5900 ERROR_CLUSTER_CANT_CREATE_DUP_CLUSTER_NAME"
    code, _, err = shell("node", "join", "word", *PLACE)
    assert (code, err) == (1, "refused: it was used\n  status 5936 ERROR_CLUSTER_OBJECT_ALREADY_USED")


@pytest.mark.parametrize(
    "words",
    [
        ["cluster", "create"],
        ["cluster", "create", "x", "--etcd", "https://a:1"],
        ["cluster", "create", "x", "--etcd", "https://a:1", "--node", "n", "--listen", "a", "--peers", "b:1"],
        ["node", "join"],
        ["node", "join", "no-token", *PLACE],
        ["node", "run", "--config"],
        ["node", "evict"],
        ["cluster", "backup"],
        ["cluster", "restore", "/no/such/file"],
    ],
)
def test_mistakes_are_2(words: list[str], shell: Shell) -> None:
    code, out, err = shell(*words)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize("words", [["node", "run", "--config", "x/node.toml"], ["node", "run", "--config=x/node.toml"]])
def test_node_run_becomes_the_daemon(words: list[str], shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []

    def execv(program: str, argv: list[str]) -> None:
        became.append(argv[1:])
        raise CallerError(Status.ERROR_CANCELLED, "only a test")

    monkeypatch.setattr(os, "execv", execv)
    shell(*words)
    assert became == [["-m", "quorate.service.daemon", str(Path("x/node.toml").absolute())]]


def test_a_machine_that_is_a_node_finds_its_own_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUORATE_CLUSTER", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    machine = tmp_path / "machine"
    machine.mkdir()
    (machine / "cluster.json").write_text(json.dumps({"nodes": [{"name": "n1", "http": "/run/q/http"}]}))
    monkeypatch.setattr("quorate.client.address.MACHINE_DIRECTORY", machine)
    assert [node.name for node in node_addresses()] == ["n1"]
    pocket = tmp_path / "state" / "quorate" / "pocket"
    pocket.mkdir(parents=True)
    (pocket / "cluster.json").write_text(json.dumps({"nodes": [{"name": "node1", "http": "/run/p/http"}]}))
    assert [node.name for node in node_addresses()] == ["node1"], "a pocket cluster of one's own comes first"
