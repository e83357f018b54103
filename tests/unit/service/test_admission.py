"""A machine joins a cluster: over TLS and with real certificates, but with a database in memory."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.peers.certificates import INSTANCE, OTHER_INSTANCE, Authorities
from tests.waiting import PATIENCE

from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status
from quorate.clusapi.versions import PROGRAM_LEVELS, LevelRange
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Store, StoreUnavailable
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.member_records import AuthorityRecord, EvictedNode, JoinToken, StoreAccess, hash_secret
from quorate.database.members import Eviction, Founding
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.values import RegistryValue
from quorate.peers.admission_messages import ADMIT, AUTHORITY, Application
from quorate.peers.authority import describe, fingerprint, new_request
from quorate.peers.join_token import JoinWord
from quorate.peers.server import PeerServer, TlsDoor
from quorate.peers.tls import NodeTls
from quorate.service import joining
from quorate.service.admission import Admissions
from quorate.service.configuration import read_configuration
from quorate.service.joining import EtcdFiles, Joined, UncertainJoin, join
from quorate.service.machine import Machine

ONE, TWO = NodeId("1"), NodeId("2")
ACCESS = StoreAccess(("https://10.0.0.9:2379",), "quorate/prod/", "etcd's CA", "a certificate", "a key")


@dataclass
class Cluster:
    """A cluster whose node 1 answers at the nodes' door."""

    database: ClusterDatabase
    authorities: Authorities
    admissions: Admissions
    data: MemoryData
    port: int = 0
    heard: list[str] = field(default_factory=list)
    offset: timedelta = timedelta()
    swallow: bool = False
    """Admit machines, but never answer them."""
    secrets: int = 0

    async def word(self, lifetime: timedelta = timedelta(hours=1), port: int | None = None) -> JoinWord:
        """Make a token."""
        self.secrets += 1
        id_, secret = f"{self.secrets:016x}", f"secret{self.secrets}"
        now = datetime.now(UTC)
        await self.database.members.add_token(id_, JoinToken(hash_secret(secret), now + lifetime, "root"), now)
        ca = fingerprint(self.authorities.nodes.certificate_pem)
        return JoinWord("prod", (f"127.0.0.1:{port or self.port}",), ca, id_, secret)

    async def dump(self) -> dict[str, bytes]:
        return {record.key: record.value for record in (await self.database.store.range("")).records}

    def open_store(self, settings: EtcdSettings) -> Store:
        return MemoryStore(self.data)

    async def answer(self, sender: NodeId | None, kind: str, body: JsonObject) -> JsonObject:
        self.heard.append(kind)
        answer = await self.admissions.answer(kind, body)
        if self.swallow and kind == ADMIT:
            await asyncio.sleep(60)
        return answer


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return Authorities.make()


@asynccontextmanager
async def cluster(directory: Path, authorities: Authorities, access: StoreAccess = ACCESS) -> AsyncIterator[Cluster]:
    data = MemoryData()
    database = ClusterDatabase(MemoryStore(data))
    await database.members.found(
        Founding(
            "prod",
            authorities.instance_id,
            GroupId("99999999-2222-3333-4444-555555555555"),
            ResourceId("99999999-2222-3333-4444-666666666666"),
            "alpha",
            AuthorityRecord(authorities.nodes.certificate_pem.decode(), authorities.nodes.key_pem.decode()),
            AuthorityRecord(authorities.users.certificate_pem.decode(), authorities.users.key_pem.decode()),
            access,
        )
    )
    made = Cluster(database, authorities, Admissions(database, ONE), data)
    made.admissions = Admissions(database, ONE, lambda: datetime.now(UTC) + made.offset)
    identity = authorities.identity(directory / f"node of {authorities.instance_id}", "1")
    tls = NodeTls(identity, authorities.instance_id)
    door = PeerServer(TlsDoor(HostPort("127.0.0.1", 0), tls, lambda _: True), made.answer)
    await door.start()
    made.port = int(door.address.rpartition(":")[2])
    try:
        yield made
    finally:
        await door.close()


def machine(state: Path, name: str = "beta") -> Machine:
    return Machine(name, HostPort("192.0.2.2", 7443), HostPort("192.0.2.2", 7444), state, Path("/run/quorate-test/2"))


Scene = Callable[[Cluster], Awaitable[None]]


def play(scene: Scene, directory: Path, authorities: Authorities, access: StoreAccess = ACCESS) -> None:
    async def main() -> None:
        async with cluster(directory, authorities, access) as made, asyncio.timeout(PATIENCE):
            await scene(made)

    asyncio.run(main())


async def let_in(made: Cluster, word: JoinWord, place: Machine, own: EtcdFiles | None = None) -> Joined:
    return await join(word, place, own or EtcdFiles(), made.open_store)


async def refused(made: Cluster, call: Awaitable[object]) -> ClusterError:
    """Nothing changes when a machine is not let in."""
    before = await made.dump()
    with pytest.raises(ClusterError) as caught:
        await call
    assert await made.dump() == before
    return caught.value


def test_a_machine_joins_and_has_all_that_a_node_needs(tmp_path: Path, authorities: Authorities) -> None:
    async def scene(made: Cluster) -> None:
        joined = await let_in(made, await made.word(), machine(tmp_path / "beta"))
        assert joined == Joined(TWO, "prod", tmp_path / "beta" / "node.toml")
        assert made.heard == [AUTHORITY, ADMIT]
        assert (await made.database.snapshot()).node("beta").id == TWO
        assert (await made.database.events())[-1].sentence == (
            "beta joined the cluster as node 2, with a token that root made"
        )

    play(scene, tmp_path, authorities)
    state = tmp_path / "beta"
    assert state.stat().st_mode & 0o777 == 0o700
    configuration = read_configuration(state / "node.toml")
    assert (configuration.node, configuration.state) == (TWO, state)
    assert configuration.database == EtcdSettings(
        ACCESS.endpoints,
        state / "etcd" / "ca.pem",
        state / "etcd" / "client.pem",
        state / "etcd" / "client.key",
        ACCESS.prefix,
    )
    assert (state / "etcd" / "client.key").read_text() == ACCESS.key
    identity = machine(state).identity
    facts = describe(identity.load().certificate)
    assert (facts.subject, facts.organization, facts.names) == ("2", INSTANCE, ("192.0.2.2",))
    assert NodeTls(identity, INSTANCE).why_not_node(None)
    readable = [path for path in state.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert readable == []


def test_a_used_token_is_refused_and_leaves_nothing(tmp_path: Path, authorities: Authorities) -> None:
    async def scene(made: Cluster) -> None:
        word = await made.word()
        await let_in(made, word, machine(tmp_path / "beta"))
        error = await refused(made, let_in(made, word, machine(tmp_path / "made" / "for" / "gamma", "gamma")))
        assert error.status == Status.ERROR_CLUSTER_OBJECT_ALREADY_USED
        assert "the token was used already, for beta" in error.sentence
        assert not (tmp_path / "made").exists()

    play(scene, tmp_path, authorities)


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda word: replace(word, secret="guess"), Status.ERROR_LOGON_FAILURE),
        (lambda word: replace(word, id="0" * 16), Status.ERROR_LOGON_FAILURE),
        (lambda word: replace(word, id="../names/x"), Status.ERROR_LOGON_FAILURE),
    ],
)
def test_a_token_that_nobody_made_is_refused(
    spoil: Callable[[JoinWord], JoinWord], status: Status, tmp_path: Path, authorities: Authorities
) -> None:
    async def scene(made: Cluster) -> None:
        word = spoil(await made.word())
        error = await refused(made, let_in(made, word, machine(tmp_path / "beta")))
        assert (type(error), error.status) == (CallerError, status)
        assert not (tmp_path / "beta").exists()

    play(scene, tmp_path, authorities)


def test_an_expired_token_is_refused(tmp_path: Path, authorities: Authorities) -> None:
    async def scene(made: Cluster) -> None:
        word = await made.word(timedelta(seconds=-1))
        error = await refused(made, let_in(made, word, machine(tmp_path / "beta")))
        assert error.status == Status.ERROR_ACCOUNT_EXPIRED
        assert "the token expired at" in error.sentence
        assert not (tmp_path / "beta").exists()

    play(scene, tmp_path, authorities)


@pytest.mark.parametrize(("seconds", "said"), [(75, "75 s ahead of"), (-3600, "3600 s behind")])
def test_a_clock_that_is_wrong_is_told_before_anything_else(
    seconds: int, said: str, tmp_path: Path, authorities: Authorities
) -> None:
    async def scene(made: Cluster) -> None:
        made.offset = timedelta(seconds=seconds)
        error = await refused(made, let_in(made, await made.word(), machine(tmp_path / "beta")))
        assert (type(error), error.status) == (RefusalError, Status.ERROR_TIME_SKEW)
        assert said in error.sentence
        assert made.heard == [AUTHORITY], "the secret was not told"

    play(scene, tmp_path, authorities)


def test_the_node_measures_the_clocks_too(tmp_path: Path, authorities: Authorities) -> None:
    async def scene(made: Cluster) -> None:
        application = replace(applying(await made.word()), time=datetime.now(UTC) - timedelta(seconds=40))
        error = await refused(made, made.admissions.answer(ADMIT, application.to_json()))
        assert error.status == Status.ERROR_TIME_SKEW
        assert "the clock of the machine 'beta' is 40 s behind" in error.sentence

    play(scene, tmp_path, authorities)


def applying(word: JoinWord) -> Application:
    request = new_request("beta")[1].decode()
    return Application(word.id, word.secret, "beta", request, ("192.0.2.2",), PROGRAM_LEVELS, datetime.now(UTC))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"request": "no request"}, Status.ERROR_INVALID_DATA),
        ({"hosts": ("a\nb",)}, Status.ERROR_INVALID_PARAMETER),
        ({"hosts": ("bücher.example",)}, Status.ERROR_INVALID_PARAMETER),
        ({"name": "  "}, Status.ERROR_INVALID_NAME),
        ({"levels": LevelRange(1, 2)}, Status.ERROR_CLUSTER_OLD_VERSION),
        ({"levels": LevelRange(99, 100)}, Status.ERROR_CLUSTER_INCOMPATIBLE_VERSIONS),
        ({"name": "Alpha"}, Status.ERROR_CLUSTER_NODE_EXISTS),
    ],
)
def test_an_application_that_cannot_be_granted_does_not_use_the_token_up(
    change: dict[str, str], status: Status, tmp_path: Path, authorities: Authorities
) -> None:
    async def scene(made: Cluster) -> None:
        word = await made.word()
        application = replace(applying(word), **change)  # type: ignore[arg-type]
        error = await refused(made, made.admissions.answer(ADMIT, application.to_json()))
        assert error.status == status, error.sentence
        assert (await let_in(made, word, machine(tmp_path / "beta"))).node == TWO

    play(scene, tmp_path, authorities)


def test_another_cluster_is_told_nothing(tmp_path: Path, authorities: Authorities) -> None:
    async def scene(made: Cluster) -> None:
        async with cluster(tmp_path, Authorities.make(OTHER_INSTANCE)) as other:
            word = await made.word(port=other.port)
            error = await refused(made, let_in(made, word, machine(tmp_path / "beta")))
            assert error.status == Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT
            assert "but not the one that made this token" in error.sentence
            assert other.heard == [AUTHORITY]

    play(scene, tmp_path, authorities)


def test_who_tells_the_right_authority_but_has_no_certificate_of_it_hears_no_secret(
    tmp_path: Path, authorities: Authorities
) -> None:
    """The authority's certificate is no secret: an impostor may have it."""

    async def scene(made: Cluster) -> None:
        async with cluster(tmp_path, Authorities.make(OTHER_INSTANCE)) as impostor:
            impostor.admissions = made.admissions
            word = await made.word(port=impostor.port)
            error = await refused(made, let_in(made, word, machine(tmp_path / "beta")))
            assert error.status == Status.RPC_S_SERVER_UNAVAILABLE
            assert impostor.heard == [AUTHORITY]

    play(scene, tmp_path, authorities)


def test_nobody_there_is_told_with_every_address(tmp_path: Path, authorities: Authorities) -> None:
    async def scene(made: Cluster) -> None:
        word = replace(await made.word(), addresses=("127.0.0.1:1", "127.0.0.1:2"))
        error = await refused(made, let_in(made, word, machine(tmp_path / "beta")))
        assert (type(error), error.status) == (FaultError, Status.RPC_S_SERVER_UNAVAILABLE)
        assert "127.0.0.1:1" in error.sentence
        assert "127.0.0.1:2" in error.sentence
        word = replace(word, addresses=("127.0.0.1:1", f"127.0.0.1:{made.port}"))
        assert (await let_in(made, word, machine(tmp_path / "beta"))).node == TWO, "the second address serves"

    play(scene, tmp_path, authorities)


def test_a_join_whose_answer_was_lost_can_be_repeated_by_the_same_machine_only(
    tmp_path: Path, authorities: Authorities, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(made: Cluster) -> None:
        word = await made.word()
        made.swallow = True
        with monkeypatch.context() as patched:
            patched.setattr(joining, "ANSWER_TIMEOUT", 1.0)
            with pytest.raises(UncertainJoin, match="give the same command again"):
                await let_in(made, word, machine(tmp_path / "beta"))
        made.swallow = False
        assert (await made.database.snapshot()).node("beta").id == TWO
        error = await refused(made, let_in(made, word, machine(tmp_path / "elsewhere")))
        assert error.status == Status.ERROR_CLUSTER_OBJECT_ALREADY_USED
        error = await refused(made, let_in(made, word, machine(tmp_path / "beta", "other")))
        assert error.status == Status.ERROR_CLUSTER_OBJECT_ALREADY_USED
        assert (await let_in(made, word, machine(tmp_path / "beta"))).node == TWO
        assert len((await made.database.snapshot()).nodes) == 2

    play(scene, tmp_path, authorities)


def test_a_machine_that_cannot_reach_etcd_is_told_and_goes_on_from_there(
    tmp_path: Path, authorities: Authorities
) -> None:
    class Silent(MemoryStore):
        async def get(self, key: str) -> None:
            raise StoreUnavailable("no answer")

    async def scene(made: Cluster) -> None:
        word, place = await made.word(), machine(tmp_path / "beta")
        with pytest.raises(FaultError, match="let this machine in as node 2, but etcd cannot be used from here"):
            await join(word, place, EtcdFiles(), lambda _: Silent())
        with pytest.raises(FaultError, match="does not know it"):
            await join(word, place, EtcdFiles(), lambda _: MemoryStore())
        assert not (tmp_path / "beta" / "node.toml").exists()
        assert (await let_in(made, word, place)).node == TWO

    play(scene, tmp_path, authorities)


def test_a_machine_brings_its_own_key_to_etcd_where_none_is_handed_over(
    tmp_path: Path, authorities: Authorities
) -> None:
    async def scene(made: Cluster) -> None:
        word, place = await made.word(), machine(tmp_path / "beta")
        with pytest.raises(RefusalError, match="--etcd-cert and --etcd-key"):
            await let_in(made, word, place)
        for name in ("own.pem", "own.key"):
            (tmp_path / name).write_text(f"my {name}")
        await let_in(made, word, place, EtcdFiles(None, tmp_path / "own.pem", tmp_path / "own.key"))
        assert (tmp_path / "beta" / "etcd" / "client.key").read_text() == "my own.key"
        assert (tmp_path / "beta" / "etcd" / "ca.pem").read_text() == ACCESS.ca

    play(scene, tmp_path, authorities, replace(ACCESS, certificate="", key="", handed_over=False))


def test_after_an_eviction_nobody_is_let_in_for_a_while(tmp_path: Path, authorities: Authorities) -> None:
    async def scene(made: Cluster) -> None:
        await let_in(made, await made.word(), machine(tmp_path / "beta"))
        closed_at = await made.database.members.close_doors(TWO)
        await made.database.members.evict(Eviction(TWO, EvictedNode("beta", datetime.now(UTC), "root"), ONE, closed_at))
        word = await made.word()
        error = await refused(made, let_in(made, word, machine(tmp_path / "gamma", "gamma")))
        assert error.status == Status.ERROR_RETRY
        assert "beta was evicted a moment ago and AddEvictDelay is 60 s: try again in" in error.sentence
        await made.database.set_values(keys.CLUSTER, {"AddEvictDelay": RegistryValue.dword(0)})
        assert (await let_in(made, word, machine(tmp_path / "gamma", "gamma"))).node == NodeId("3")

    play(scene, tmp_path, authorities)


def test_a_machine_that_is_a_node_already_is_refused_without_asking_anybody(
    tmp_path: Path, authorities: Authorities
) -> None:
    async def scene(made: Cluster) -> None:
        (tmp_path / "beta").mkdir()
        (tmp_path / "beta" / "node.toml").write_text('node = "7"\n')
        error = await refused(made, let_in(made, await made.word(), machine(tmp_path / "beta")))
        assert error.status == Status.ERROR_CLUSTER_NODE_ALREADY_MEMBER
        assert made.heard == []
        assert (tmp_path / "beta" / "node.toml").read_text() == 'node = "7"\n'

    play(scene, tmp_path, authorities)


def test_a_cluster_of_one_machine_lets_nobody_in(tmp_path: Path) -> None:
    async def main() -> None:
        database = ClusterDatabase(MemoryStore())
        await database.create_cluster("pocket")
        for kind, body in ((AUTHORITY, {}), (ADMIT, applying(JoinWord("p", ("a:1",), "f", "0" * 16, "s")).to_json())):
            with pytest.raises(ClusterError) as caught:
                await Admissions(database, ONE).answer(kind, body)
            assert caught.value.status in (Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT, Status.ERROR_LOGON_FAILURE)

    asyncio.run(main())


def test_a_question_without_tls_gets_no_answer(tmp_path: Path, authorities: Authorities) -> None:
    async def scene(made: Cluster) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(b"\0\0\0\2{}")
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1000)
        writer.transport.abort()

    play(scene, tmp_path, authorities)
