"""A machine joins a cluster: `quorate node join`.

It trusts nobody until the certificate of the nodes' authority is the one that the token names, and tells the secret
only to a node that this authority has certified. Its key is on its disk before the cluster lets it in and stays there
when the answer is lost, so that the same command can be given again.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status
from quorate.clusapi.versions import PROGRAM_LEVELS
from quorate.database import keys
from quorate.database.contract import Store
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.member_records import StoreAccess
from quorate.peers.admission_messages import ADMIT, AUTHORITY, Admission, Application, AuthorityAnswer
from quorate.peers.identity import IdentityPems, write_private
from quorate.peers.join_token import JoinWord
from quorate.peers.wire import BrokenConnection, pack_frame, read_frame, unpack_error
from quorate.service.clocks import check_offset
from quorate.service.machine import Machine, MachineFiles

CONNECT_TIMEOUT: Final = 5.0
ANSWER_TIMEOUT: Final = 30.0
"""Seconds for the answer to an application: it takes a few transactions, and etcd may be electing a leader."""

OpenStore = Callable[[EtcdSettings], Store]


class UncertainJoin(FaultError):
    """The cluster may have let the machine in, but its answer was lost."""


@dataclass(frozen=True, slots=True)
class EtcdFiles:
    """The machine's own way to etcd, in PEM files, where the cluster hands none over."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """What has become of it."""

    node: NodeId
    cluster: str
    configuration: Path


async def join(word: JoinWord, machine: Machine, own: EtcdFiles, open_store: OpenStore) -> Joined:
    """Join the cluster that the word names.

    Raises:
        CallerError, RefusalError: the cluster does not let it in; nothing is left behind.
        FaultError: something did not answer. 1726: it may have been let in, give the same command again.
    """
    machine.check()
    place, authority = await _find_authority(word)
    with MachineFiles(machine) as files:
        key, request = _key_and_request(machine)
        try:
            admission = await _apply(place, authority, _application(word, machine, request))
        except UncertainJoin:
            files.keep()
            raise
        files.keep()  # it is a node now: what comes must not be lost, and can be repeated
        machine.identity.save(
            IdentityPems(
                key=key,
                certificate=admission.certificate.encode(),
                nodes_ca=admission.nodes_ca.encode(),
                users_ca=admission.users_ca.encode(),
            )
        )
        settings = files.write_store_access(_access(StoreAccess.from_json(admission.store), own))
        await _check_store(open_store(settings), admission.node)
        path = files.write_configuration(admission.node, admission.cluster, settings)
    return Joined(admission.node, admission.cluster, path)


# --- The cluster -----------------------------------------------------------------------------------------------------


async def _find_authority(word: JoinWord) -> tuple[HostPort, AuthorityAnswer]:
    """Ask the nodes that the word names, one after the other, who signs for them; only the right one is taken."""
    from quorate.peers.authority import fingerprint

    failures: list[str] = []
    for address in word.addresses:
        place = HostPort.parse(address)
        asked = time.time()
        try:
            answer = AuthorityAnswer.from_json(await _ask(place, _trusting_nobody(), AUTHORITY, {}, CONNECT_TIMEOUT))
        except FaultError as error:
            failures.append(error.sentence)
            continue
        if fingerprint(answer.certificate.encode()) != word.fingerprint:
            raise RefusalError(
                Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT,
                f"who answers at {place} is the cluster {answer.cluster!r}, but not the one that made this token "
                f"({word.cluster!r}): nothing was told to it",
            )
        middle = datetime.fromtimestamp((asked + time.time()) / 2, UTC)
        check_offset((answer.time - middle).total_seconds(), f"the node at {place}")
        return place, answer
    raise FaultError(
        Status.RPC_S_SERVER_UNAVAILABLE, f"no node of the cluster {word.cluster!r} answers: {'; '.join(failures)}"
    )


def _application(word: JoinWord, machine: Machine, request: bytes) -> Application:
    return Application(
        token=word.id,
        secret=word.secret,
        name=machine.name,
        request=request.decode(),
        hosts=machine.hosts,
        levels=PROGRAM_LEVELS,
        time=datetime.now(UTC),
    )


async def _apply(place: HostPort, authority: AuthorityAnswer, application: Application) -> Admission:
    """Ask to be let in, of a node that the authority has certified, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # a node is its certificate, wherever it is reached
    context.load_verify_locations(cadata=authority.certificate)
    body = await _ask(place, context, ADMIT, application.to_json(), ANSWER_TIMEOUT)
    admission = Admission.from_json(body)
    if not admission.node or not admission.certificate:
        raise FaultError(Status.ERROR_INVALID_DATA, f"the node at {place} let us in without saying as whom")
    return admission


async def _ask(place: HostPort, context: ssl.SSLContext, kind: str, body: JsonObject, timeout: float) -> JsonObject:
    """One question on a connection of its own. Raises what the node raised, or FaultError: no answer."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            reader, writer = await asyncio.open_connection(place.host, place.port, ssl=context)
    except TimeoutError as error:
        raise _unreachable(place, f"no connection within {CONNECT_TIMEOUT:.0f} s") from error
    except OSError as error:
        raise _unreachable(place, getattr(error, "verify_message", None) or error.strerror or str(error)) from error
    try:
        writer.write(pack_frame({"id": 1, "kind": kind, "body": body}))
        async with asyncio.timeout(timeout):
            message = await read_frame(reader)
    except (TimeoutError, OSError, BrokenConnection) as error:
        raise _no_answer(place, kind) from error
    finally:
        writer.transport.abort()
    if message is None:
        raise _no_answer(place, kind)
    answer = message.get("body")
    if isinstance(answer, dict):
        return answer
    raise unpack_error(message.get("error"))


def _no_answer(place: HostPort, kind: str) -> FaultError:
    if kind != ADMIT:
        return _unreachable(place, "it gives no answer")
    return UncertainJoin(
        Status.RPC_S_CALL_FAILED,
        f"the node at {place} gave no answer, it is not known whether it let this machine in: give the same command "
        "again, it goes on from there",
    )


def _unreachable(place: HostPort, reason: str) -> FaultError:
    return FaultError(Status.RPC_S_SERVER_UNAVAILABLE, f"{place}: {reason}")


def _trusting_nobody() -> ssl.SSLContext:
    """For the first question: what is answered is believed only when its fingerprint is the token's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# --- This machine ----------------------------------------------------------------------------------------------------


def _key_and_request(machine: Machine) -> tuple[bytes, bytes]:
    """The machine's key, that of an earlier try if there was one, and a request to certify it."""
    from quorate.peers.authority import new_request, request_for

    identity = machine.identity
    if identity.key.exists():
        key = identity.key.read_bytes()
        return key, request_for(key, machine.name)
    key, request = new_request(machine.name)
    try:
        identity.directory.mkdir(exist_ok=True, mode=0o700)
        write_private(identity.key, key)
    except OSError as error:
        raise FaultError(Status.ERROR_IO_DEVICE, f"{identity.key} cannot be written: {error.strerror}") from error
    return key, request


def _access(given: StoreAccess, own: EtcdFiles) -> StoreAccess:
    """What the cluster hands over, and what the machine brings itself. Raises CallerError, RefusalError."""
    access = replace(
        given,
        ca=_text(own.ca) if own.ca else given.ca,
        certificate=_text(own.certificate) if own.certificate else given.certificate,
        key=_text(own.key) if own.key else given.key,
    )
    if not access.handed_over and not access.key:
        raise RefusalError(
            Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT,
            "this cluster hands no key to etcd over: give this machine's own with --etcd-cert and --etcd-key, and the "
            "same command again",
        )
    return access


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{path} cannot be read as PEM: {error}") from error


async def _check_store(store: Store, node: NodeId) -> None:
    """Make sure that this machine reaches the database, and that it is the one that the cluster means."""
    try:
        found = await store.get(keys.registry_key(keys.node_path(node)))
    except ClusterError as error:
        raise FaultError(
            error.status,
            f"the cluster has let this machine in as node {node}, but etcd cannot be used from here: {error.sentence}; "
            "mend that and give the same command again",
        ) from error
    finally:
        await store.close()
    if found is None:
        raise FaultError(
            Status.ERROR_CLUSTER_DATABASE_SEQMISMATCH,
            f"the cluster has let this machine in as node {node}, but the etcd that is reached from here does not know "
            "it: is it the same one?",
        )
