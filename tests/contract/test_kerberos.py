"""Logons by Kerberos against MIT's own key distribution centre, where it and python-gssapi are installed."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from tests.unit.dcerpc.world import ECHO, NAMES, PASSWORDS, SAY, SayIn, SayOut, World, run

from quorate.dcerpc.acceptors import LogonDoor
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.errors import LogonRefused
from quorate.dcerpc.initiators import Credentials, Logon, Mechanism
from quorate.dcerpc.kerberos import is_available, kerberos_door
from quorate.dcerpc.security import AuthLevel
from quorate.dcerpc.server import RpcServer

KDC: Final = shutil.which("krb5kdc") or shutil.which("krb5kdc", path="/usr/sbin")
ADMIN: Final = shutil.which("kadmin.local") or shutil.which("kadmin.local", path="/usr/sbin")
CREATE: Final = shutil.which("kdb5_util") or shutil.which("kdb5_util", path="/usr/sbin")
pytestmark = [
    pytest.mark.skipif(not is_available(), reason="not installed: the Python packages gssapi and krb5"),
    pytest.mark.skipif(
        None in (KDC, ADMIN, CREATE), reason="not installed: a KDC (packages krb5-kdc, krb5-admin-server)"
    ),
]
REALM, HOST, SERVICE = "LAB.TEST", "node1.lab.test", "MSServerClusterMgmtAPI"


@dataclass
class Realm:
    """A realm with the user alice, and keytabs: of the service, and of another one."""

    place: Path
    port: int

    def found(self) -> None:
        (self.place / "krb5.conf").write_text(
            f"[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\nrdns = false\n"
            f"dns_canonicalize_hostname = false\n[realms]\n{REALM} = {{\nkdc = 127.0.0.1:{self.port}\n}}\n"
        )
        (self.place / "kdc.conf").write_text(
            f"[kdcdefaults]\nkdc_ports = {self.port}\nkdc_tcp_ports = {self.port}\n[realms]\n{REALM} = {{\n"
            f"database_name = {self.place}/principal\nkey_stash_file = {self.place}/stash\n}}\n"
        )
        self._do(str(CREATE), "create", "-s", "-r", REALM, "-P", "master")
        self._admin("addprinc -pw secret alice")
        for name in (SERVICE, "host"):
            self._admin(f"addprinc -randkey {name}/{HOST}")
            self._admin(f"ktadd -k {self.place}/{name}.keytab {name}/{HOST}")

    def keytab(self, service: str = SERVICE) -> Path:
        return self.place / f"{service}.keytab"

    def _admin(self, query: str) -> None:
        self._do(str(ADMIN), "-r", REALM, "-q", query)

    def _do(self, *command: str) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def realm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Realm]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        realm = Realm(tmp_path, int(free.getsockname()[1]))
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "krb5.conf"))
    monkeypatch.setenv("KRB5_KDC_PROFILE", str(tmp_path / "kdc.conf"))
    monkeypatch.setenv("KRB5_KTNAME", "")
    realm.found()
    process = subprocess.Popen([str(KDC), "-n", "-r", REALM], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", realm.port)).close()
            except ConnectionRefusedError:
                assert process.poll() is None
                continue
            break
        yield realm
    finally:
        process.kill()
        process.wait()


async def say(server: RpcServer, logon: Logon, text: str) -> SayOut:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    client = RpcClient(reader, writer, HOST)  # a ticket is for a name, whatever the address
    try:
        await client.bind(ECHO, logon)
        return await client.invoke(0, SAY, SayIn(text))
    finally:
        await client.close()


def served(realm: Realm, keytab: Path, test: Callable[[RpcServer, World], Awaitable[None]]) -> None:
    async def body() -> None:
        world = World()

        async def note(report: object) -> None:
            world.reports.append(report)  # type: ignore[arg-type]

        door = LogonDoor(lambda attempt: PASSWORDS.get(attempt.user), NAMES, kerberos_door(keytab, SERVICE, HOST))
        server = RpcServer(*world.interfaces(), door=door, on_logon=note)
        await server.start("127.0.0.1")
        try:
            await test(server, world)
        finally:
            await server.close()

    run(body)


def by_kerberos(password: str = "secret") -> Logon:
    return Logon(Credentials("alice", password, REALM), AuthLevel.PRIVACY, Mechanism.KERBEROS, SERVICE)


def test_a_user_of_the_realm_comes_in_and_calls_sealed(realm: Realm) -> None:
    async def test(server: RpcServer, world: World) -> None:
        for text in ("x", "x" * 20_000):
            assert await say(server, by_kerberos(), text) == SayOut(text, 0)
        assert {(one.user, one.domain, one.is_granted) for one in world.reports} == {("alice", REALM, True)}
        ntlm = Logon(Credentials("alice", "secret"), AuthLevel.PRIVACY, Mechanism.SPNEGO)
        assert await say(server, ntlm, "by NTLM, at the same door") == SayOut("by NTLM, at the same door", 0)

    served(realm, realm.keytab(), test)


def test_a_ticket_that_the_keytab_does_not_open_and_a_wrong_password_let_nobody_in(realm: Realm) -> None:
    async def test(server: RpcServer, world: World) -> None:
        for logon in (by_kerberos(), by_kerberos("wrong")):
            with pytest.raises(LogonRefused):
                await say(server, logon, "x")
        assert not any(one.is_granted for one in world.reports)

    served(realm, realm.keytab("host"), test)
