"""Two nodes over TCP: who is let in, who is refused and why, and that nothing hangs."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.peers.certificates import INSTANCE, OTHER_INSTANCE, Authorities, now
from tests.waiting import PATIENCE

from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status
from quorate.peers.authority import issue_node, request_for
from quorate.peers.client import Peers, PeerUnreachable
from quorate.peers.identity import NodeIdentity
from quorate.peers.server import PeerServer, TlsDoor
from quorate.peers.tls import NodeTls

ONE, TWO = NodeId("1"), NodeId("2")
HERE = HostPort("127.0.0.1", 0)


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return Authorities.make()


@dataclass
class Listening:
    """Node 2, as node 1 reaches it."""

    server: PeerServer
    members: set[NodeId] = field(default_factory=lambda: {ONE, TWO})
    heard: list[tuple[NodeId | None, str]] = field(default_factory=list)
    stuck: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def port(self) -> int:
        return int(self.server.address.rpartition(":")[2])


@asynccontextmanager
async def listening(identity: NodeIdentity, instance_id: str = INSTANCE) -> AsyncIterator[Listening]:
    async def answer(sender: NodeId | None, kind: str, body: JsonObject) -> JsonObject:
        node.heard.append((sender, kind))
        match kind:
            case "refuse":
                raise RefusalError(Status.ERROR_INVALID_STATE, "not now")
            case "break":
                raise ZeroDivisionError("bug")
            case "wait":
                await node.stuck.wait()
        return {"echo": body}

    door = TlsDoor(HERE, NodeTls(identity, instance_id), lambda node_id: node_id in node.members)
    node = Listening(PeerServer(door, answer))
    await node.server.start()
    try:
        yield node
    finally:
        await node.server.close()


@asynccontextmanager
async def calling(identity: NodeIdentity, address: str, instance_id: str = INSTANCE) -> AsyncIterator[Peers]:
    peers = Peers(lambda _: address, NodeTls(identity, instance_id))
    try:
        yield peers
    finally:
        await peers.close()


Scene = Callable[[Peers, Listening], Awaitable[None]]


def play(
    scene: Scene,
    caller: NodeIdentity,
    answerer: NodeIdentity,
    *,
    caller_instance: str = INSTANCE,
    answerer_instance: str = INSTANCE,
) -> None:
    async def run() -> None:
        async with (
            listening(answerer, answerer_instance) as node,
            calling(caller, node.server.address, caller_instance) as peers,
        ):
            await scene(peers, node)

    asyncio.run(run())


async def refusal(peers: Peers, kind: str = "ping", node: NodeId = TWO, body: JsonObject | None = None) -> ClusterError:
    with pytest.raises(ClusterError) as refused:
        await peers.call(node, kind, body or {}, 5.0)
    return refused.value


def test_nodes_of_one_cluster_talk(authorities: Authorities, tmp_path: Path) -> None:
    async def scene(peers: Peers, node: Listening) -> None:
        assert node.server.address.startswith("tcp:127.0.0.1:")
        assert await peers.call(TWO, "ping", {"x": 1}, 5.0) == {"echo": {"x": 1}}
        answers = await asyncio.gather(*(peers.call(TWO, "ping", {"n": n}, 5.0) for n in range(20)))
        assert [answer["echo"] for answer in answers] == [{"n": n} for n in range(20)]
        refused = await refusal(peers, "refuse")
        assert (type(refused), refused.status) == (RefusalError, Status.ERROR_INVALID_STATE)
        assert set(node.heard) == {(ONE, "ping"), (ONE, "refuse")}

    play(scene, authorities.identity(tmp_path / "1", "1"), authorities.identity(tmp_path / "2", "2"))


def test_the_answerer_must_be_the_node_that_is_meant(authorities: Authorities, tmp_path: Path) -> None:
    async def scene(peers: Peers, node: Listening) -> None:
        refused = await refusal(peers)
        assert isinstance(refused, PeerUnreachable)
        assert "is not node 2: its certificate is that of node 3" in refused.sentence
        assert node.heard == []

    play(scene, authorities.identity(tmp_path / "1", "1"), authorities.identity(tmp_path / "3", "3"))


def test_an_authority_of_somebody_else_counts_for_nothing(authorities: Authorities, tmp_path: Path) -> None:
    strangers = Authorities.make()

    async def caller_is_strange(peers: Peers, node: Listening) -> None:
        refused = await refusal(peers)
        assert isinstance(refused, PeerUnreachable)
        assert "certificate is not good" in refused.sentence
        assert node.heard == []

    play(caller_is_strange, strangers.identity(tmp_path / "s1", "1"), authorities.identity(tmp_path / "2", "2"))

    mixed = strangers.identity(tmp_path / "s2", "1")  # it trusts the cluster, which does not trust it
    (mixed.nodes_ca).write_bytes(authorities.nodes.certificate_pem)

    async def server_refuses(peers: Peers, node: Listening) -> None:
        refused = await refusal(peers)
        assert isinstance(refused, PeerUnreachable)
        assert "it takes this node's certificate for expired or for that of another cluster" in refused.sentence
        assert node.heard == []

    play(server_refuses, mixed, authorities.identity(tmp_path / "2", "2"))


def test_another_cluster_s_certificate_is_refused_by_name(authorities: Authorities, tmp_path: Path) -> None:
    """Even where the same authority had signed for two clusters."""
    other = authorities.identity(tmp_path / "o", "1", instance_id=OTHER_INSTANCE)
    mine = authorities.identity(tmp_path / "2", "2")

    async def caller_is_of_another(peers: Peers, node: Listening) -> None:
        refused = await refusal(peers)
        assert refused.status is Status.ERROR_ACCESS_DENIED
        assert "its certificate is of another cluster" in refused.sentence
        assert node.heard == []

    play(caller_is_of_another, other, mine)

    async def answerer_is_of_another(peers: Peers, node: Listening) -> None:
        refused = await refusal(peers)
        assert isinstance(refused, PeerUnreachable)
        assert "its certificate is of another cluster" in refused.sentence
        assert node.heard == []

    other_two = authorities.identity(tmp_path / "o2", "2", instance_id=OTHER_INSTANCE)
    play(
        answerer_is_of_another,
        authorities.identity(tmp_path / "1", "1"),
        other_two,
        answerer_instance=OTHER_INSTANCE,
    )


def test_an_expired_certificate_is_refused(authorities: Authorities, tmp_path: Path) -> None:
    long_ago = now() - timedelta(days=200)

    async def expired(peers: Peers, node: Listening) -> None:
        refused = await refusal(peers)
        assert isinstance(refused, PeerUnreachable)
        assert "expired" in refused.sentence
        assert node.heard == []

    old, new = authorities.identity(tmp_path / "old", "1", at=long_ago), authorities.identity(tmp_path / "new", "1")
    old_two, new_two = (
        authorities.identity(tmp_path / "o2", "2", at=long_ago),
        authorities.identity(tmp_path / "2", "2"),
    )
    play(expired, old, new_two)
    play(expired, new, old_two)


def test_a_certificate_that_is_not_valid_yet_is_refused(authorities: Authorities, tmp_path: Path) -> None:
    """A node whose clock is wrong by more than an hour."""
    ahead = authorities.identity(tmp_path / "1", "1", at=now() + timedelta(hours=3))

    async def scene(peers: Peers, node: Listening) -> None:
        assert isinstance(await refusal(peers), PeerUnreachable)
        assert node.heard == []

    play(scene, ahead, authorities.identity(tmp_path / "2", "2"))


def test_a_user_s_certificate_opens_no_node_s_door(authorities: Authorities, tmp_path: Path) -> None:
    authorities.credentials(tmp_path / "user", "1", "full")
    identity = authorities.identity(tmp_path / "1", "1")
    identity.certificate.write_bytes((tmp_path / "user" / "user.crt").read_bytes())
    identity.key.write_bytes((tmp_path / "user" / "user.key").read_bytes())

    async def scene(peers: Peers, node: Listening) -> None:
        assert isinstance(await refusal(peers), PeerUnreachable)
        assert node.heard == []

    play(scene, identity, authorities.identity(tmp_path / "2", "2"))


def test_an_evicted_node_is_refused_from_the_next_message_on(authorities: Authorities, tmp_path: Path) -> None:
    async def scene(peers: Peers, node: Listening) -> None:
        await peers.call(TWO, "ping", {}, PATIENCE)
        node.members.discard(ONE)
        for _ in range(2):  # on the connection that stands, and on a new one
            refused = await refusal(peers)
            assert (type(refused), refused.status) == (CallerError, Status.ERROR_ACCESS_DENIED)
            assert "node 1 is not in the cluster" in refused.sentence
        assert node.heard == [(ONE, "ping")]

    play(scene, authorities.identity(tmp_path / "1", "1"), authorities.identity(tmp_path / "2", "2"))


def test_the_system_watches_over_a_connection_too(authorities: Authorities, tmp_path: Path) -> None:
    async def scene(peers: Peers, node: Listening) -> None:
        await peers.call(TWO, "ping", {}, PATIENCE)
        writer = peers._links[TWO]._writer
        assert writer is not None
        connection = writer.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"

    play(scene, authorities.identity(tmp_path / "1", "1"), authorities.identity(tmp_path / "2", "2"))


@pytest.mark.parametrize(("kind", "name"), [("prepare", "source"), ("promise", "node")])
def test_nobody_speaks_in_another_s_name(authorities: Authorities, tmp_path: Path, kind: str, name: str) -> None:
    async def scene(peers: Peers, node: Listening) -> None:
        refused = await refusal(peers, kind, body={name: "3"})
        assert (type(refused), refused.status) == (CallerError, Status.ERROR_ACCESS_DENIED)
        assert refused.sentence == f"node 1 sent a message '{kind}' in the name of node 3"
        assert await peers.call(TWO, kind, {name: "1"}, 5.0) == {"echo": {name: "1"}}
        assert node.heard == [(ONE, kind)]

    play(scene, authorities.identity(tmp_path / "1", "1"), authorities.identity(tmp_path / "2", "2"))


def test_a_bug_in_an_answer_ends_no_connection(authorities: Authorities, tmp_path: Path) -> None:
    async def scene(peers: Peers, node: Listening) -> None:
        broken = await refusal(peers, "break")
        assert (type(broken), broken.status) == (FaultError, Status.ERROR_INTERNAL_ERROR)
        assert await peers.call(TWO, "ping", {}, PATIENCE) == {"echo": {}}

    play(scene, authorities.identity(tmp_path / "1", "1"), authorities.identity(tmp_path / "2", "2"))


def test_a_node_without_certificates_says_so() -> None:
    async def run() -> None:
        peers = Peers(lambda _: "tcp:127.0.0.1:1")
        with pytest.raises(PeerUnreachable, match="this node has no certificates"):
            await peers.call(TWO, "ping", {}, 1.0)
        await peers.close()

    asyncio.run(run())


def test_a_taken_port_is_a_fault_with_its_address(authorities: Authorities, tmp_path: Path) -> None:
    async def run() -> None:
        async with listening(authorities.identity(tmp_path / "2", "2")) as node:
            door = TlsDoor(HostPort("127.0.0.1", node.port), NodeTls(NodeIdentity(tmp_path / "2"), INSTANCE), bool)

            async def nobody(sender: NodeId | None, kind: str, body: JsonObject) -> JsonObject:
                return {}

            with pytest.raises(FaultError, match=rf"cannot be opened at 127\.0\.0\.1:{node.port}"):
                await PeerServer(door, nobody).start()

    asyncio.run(run())


# --- renewal --------------------------------------------------------------------------------------------------------


def test_renewed_files_are_used_without_a_restart(authorities: Authorities, tmp_path: Path) -> None:
    """The old connection goes on; a new one shows the new certificate."""
    caller = authorities.identity(tmp_path / "1", "1")
    answerer = authorities.identity(tmp_path / "2", "2")
    tls = NodeTls(answerer, INSTANCE)

    async def run() -> None:
        async def answer(sender: NodeId | None, kind: str, body: JsonObject) -> JsonObject:
            return {}

        server = PeerServer(TlsDoor(HERE, tls, lambda _: True), answer)
        await server.start()
        async with calling(caller, server.address) as standing, calling(caller, server.address) as coming:
            await standing.call(TWO, "ping", {}, 5.0)
            assert not tls.refresh()
            before = await shown_by(server.address, caller)
            key = answerer.load().key
            answerer.save_certificate(
                issue_node(authorities.nodes, request_for(key, "2"), "2", INSTANCE, ["127.0.0.1"], now())
            )
            assert tls.refresh()
            assert not tls.refresh()
            await standing.call(TWO, "ping", {}, 5.0)
            await coming.call(TWO, "ping", {}, 5.0)
            assert await shown_by(server.address, caller) != before
        await server.close()

    asyncio.run(run())


async def shown_by(address: str, caller: NodeIdentity) -> bytes:
    host, _, port = address.removeprefix("tcp:").rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=NodeTls(caller, INSTANCE).peers_client)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return shown


def test_files_that_do_not_fit_leave_the_old_ones_in_use(authorities: Authorities, tmp_path: Path) -> None:
    identity = authorities.identity(tmp_path / "2", "2")
    tls = NodeTls(identity, INSTANCE)
    identity.certificate.write_text("nonsense")
    with pytest.raises(FaultError, match="do not serve for TLS"):
        tls.refresh()
    with pytest.raises(FaultError, match="do not serve for TLS"):
        NodeTls(identity, INSTANCE)
    identity.certificate.unlink()
    with pytest.raises(FaultError, match=r"node\.crt"):
        NodeTls(identity, INSTANCE)


# --- what the network does ------------------------------------------------------------------------------------------


def test_a_call_without_answer_makes_the_next_one_connect_anew(authorities: Authorities, tmp_path: Path) -> None:
    """As after a cut cable: nobody says that the connection is dead. What is under way may still be answered."""

    async def scene(peers: Peers, node: Listening) -> None:
        patient = asyncio.ensure_future(peers.call(TWO, "wait", {"patient": True}, PATIENCE))
        await until(lambda: node.heard == [(ONE, "wait")])
        with pytest.raises(PeerUnreachable, match=r"did not answer 'wait' within 0\.05 s"):
            await peers.call(TWO, "wait", {}, 0.05)
        assert await peers.call(TWO, "ping", {}, PATIENCE) == {"echo": {}}
        assert len(connections(node)) == 2
        node.stuck.set()
        assert await patient == {"echo": {"patient": True}}
        await until(lambda: len(connections(node)) == 1)

    play(scene, authorities.identity(tmp_path / "1", "1"), authorities.identity(tmp_path / "2", "2"))


def connections(node: Listening) -> list[str]:
    """The connections to a node's door that stand, as the system lists them."""
    return [
        line
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{node.port:04X}") and line.split()[3] == "01"
    ]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the system's own list tells nobody when it changes
            await asyncio.sleep(0.005)


def test_who_accepts_and_says_nothing_costs_a_second(authorities: Authorities, tmp_path: Path) -> None:
    """A machine that hangs still accepts: the handshake is what does not come."""
    identity = authorities.identity(tmp_path / "1", "1")

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            async with calling(identity, f"tcp:127.0.0.1:{mute.getsockname()[1]}") as peers:
                began = asyncio.get_running_loop().time()
                with pytest.raises(PeerUnreachable, match=r"no connection to .* within 1 s"):
                    await peers.call(TWO, "ping", {}, PATIENCE)
                assert asyncio.get_running_loop().time() - began < PATIENCE / 2

    asyncio.run(run())


def test_nobody_listens(authorities: Authorities, tmp_path: Path) -> None:
    identity = authorities.identity(tmp_path / "1", "1")

    async def run() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # so that nobody else comes to listen there
            async with calling(identity, f"tcp:127.0.0.1:{taken.getsockname()[1]}") as peers:
                for _ in range(3):
                    with pytest.raises(PeerUnreachable, match="cannot be reached"):
                        await peers.call(TWO, "ping", {}, PATIENCE)

    asyncio.run(run())


def test_plain_tcp_is_answered_with_nothing(authorities: Authorities, tmp_path: Path) -> None:
    async def run() -> None:
        async with listening(authorities.identity(tmp_path / "2", "2")) as node:
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            frame = json.dumps({"v": 1, "id": 1, "kind": "ping", "body": {}}).encode()
            writer.write(len(frame).to_bytes(4, "big") + frame)
            async with asyncio.timeout(PATIENCE):
                said = await reader.read()
            assert b"echo" not in said
            assert node.heard == []
            writer.close()
            await writer.wait_closed()

    asyncio.run(run())


def test_a_frame_too_large_ends_the_connection(authorities: Authorities, tmp_path: Path) -> None:
    async def run() -> None:
        identity = authorities.identity(tmp_path / "1", "1")
        async with listening(authorities.identity(tmp_path / "2", "2")) as node:
            context = NodeTls(identity, INSTANCE).peers_client
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=context)
            writer.write((1 << 31).to_bytes(4, "big"))
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            assert node.heard == []

    asyncio.run(run())


def test_a_handshake_that_is_not_finished_is_ended(
    authorities: Authorities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quorate.peers.server.HANDSHAKE_TIMEOUT", 0.2)

    async def run() -> None:
        async with listening(authorities.identity(tmp_path / "2", "2")) as node:
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(b"\x16\x03\x01\x02")  # the beginning of a client's first record, and no more
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            assert node.heard == []

    asyncio.run(run())


def test_the_limit_of_a_handshake_is_five_seconds() -> None:
    from quorate.peers import tls

    assert tls.HANDSHAKE_TIMEOUT == 5.0
