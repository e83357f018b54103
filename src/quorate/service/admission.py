"""A node lets machines in: what it answers to somebody who shows no certificate, but may have a token.

Without a token it does nothing and tells nothing but who signs for the cluster's nodes. With one, a machine is made a
node in one transaction that also uses the token up; the same machine, known by its key, may ask again while the token
lasts, since the answer may have been lost on its way.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.member_records import JoinToken
from quorate.database.members import Applicant
from quorate.database.plan import check_name
from quorate.database.records import Versioned
from quorate.database.snapshot import ClusterInfo
from quorate.hosting.registry_properties import from_registry
from quorate.peers.admission_messages import ADMIT, AUTHORITY, Admission, Application, AuthorityAnswer
from quorate.server.properties.cluster import CLUSTER_COMMON
from quorate.service.clocks import check_offset

_MAX_HOSTS: Final = 8
_MAX_HOST: Final = 253  # characters of a DNS name

_log = structlog.get_logger("admission")


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class Admissions:
    """Answers machines that want to join."""

    def __init__(self, database: ClusterDatabase, node: NodeId, clock: Callable[[], datetime] = utc_now) -> None:
        """Answer for this node."""
        self._database = database
        self._node = node
        self._clock = clock

    async def answer(self, kind: str, body: JsonObject) -> JsonObject:
        """Answer one of ``ADMISSION_KINDS``. Raises ClusterError."""
        if kind == AUTHORITY:
            return (await self._authority()).to_json()
        assert kind == ADMIT
        application = Application.from_json(body)
        try:
            admission = await self._admit(application)
        except (CallerError, RefusalError) as error:
            _log.warning("a machine was not let in", name=application.name[:80], sentence=error.sentence)
            raise
        _log.info("a machine was let in", name=application.name, number=admission.node)
        return admission.to_json()

    async def _authority(self) -> AuthorityAnswer:
        authority = await self._database.credentials.nodes_authority()
        cluster = (await self._database.snapshot()).cluster
        return AuthorityAnswer(cluster.name, cluster.instance_id, authority.certificate, self._clock())

    async def _admit(self, application: Application) -> Admission:
        now = self._clock()
        token = await self._token(application, now)
        check_offset((application.time - now).total_seconds(), f"the machine {application.name!r}")
        machine = _checked(application)
        if token.value.node is not None:
            node = await self._admitted_before(application, token.value, machine)
        else:
            cluster = (await self._database.snapshot()).cluster
            await self._check_delay(cluster, now)
            applicant = Applicant(application.name, machine, application.levels)
            node = await self._database.members.admit(
                applicant, application.token, token, lambda node: self._added(node, application, token.value, now)
            )
        return await self._certified(application, node, now)

    async def _token(self, application: Application, now: datetime) -> Versioned[JoinToken]:
        found = await self._database.members.token(application.token) if application.token.isalnum() else None
        if found is None or not found.value.fits(application.secret):
            raise CallerError(
                Status.ERROR_LOGON_FAILURE,
                'the cluster has made no such token, or has forgotten it: "quorate node token" makes one',
            )
        if found.value.expires < now:
            raise CallerError(
                Status.ERROR_ACCOUNT_EXPIRED,
                f"the token expired at {found.value.expires:%Y-%m-%d %H:%M:%S} UTC, it is {now:%H:%M:%S} now: "
                '"quorate node token" makes another',
            )
        return found

    async def _admitted_before(self, application: Application, token: JoinToken, machine: str) -> NodeId:
        info = (await self._database.snapshot()).nodes.get(token.node or NodeId(""))
        if token.machine != machine or info is None or info.name.casefold() != application.name.casefold():
            name = f"node {token.node}" if info is None else info.name
            raise RefusalError(
                Status.ERROR_CLUSTER_OBJECT_ALREADY_USED,
                f'the token was used already, for {name}: every machine needs its own, "quorate node token" makes one',
            )
        return info.id

    async def _check_delay(self, cluster: ClusterInfo, now: datetime) -> None:
        last = await self._database.members.last_eviction()
        delay = CLUSTER_COMMON.number(from_registry(cluster.properties), "AddEvictDelay")
        if last is not None and now < last.time + timedelta(seconds=delay):
            left = (last.time + timedelta(seconds=delay) - now).total_seconds()
            raise RefusalError(
                Status.ERROR_RETRY,
                f"{last.name} was evicted a moment ago and AddEvictDelay is {delay} s: try again in {left:.0f} s",
            )

    async def _certified(self, application: Application, node: NodeId, now: datetime) -> Admission:
        from quorate.peers.authority import Authority, issue_node

        credentials = self._database.credentials
        nodes, users = await credentials.nodes_authority(), await credentials.users_authority()
        cluster = (await self._database.snapshot()).cluster
        signer = Authority(nodes.certificate.encode(), nodes.key.encode())
        certificate = issue_node(
            signer, application.request.encode(), node, cluster.instance_id, application.hosts[:_MAX_HOSTS], now
        )
        return Admission(
            node=node,
            cluster=cluster.name,
            instance_id=cluster.instance_id,
            certificate=certificate.decode(),
            nodes_ca=nodes.certificate,
            users_ca=users.certificate,
            store=(await self._database.members.store_access()).to_json(),
        )

    def _added(self, node: NodeId, application: Application, token: JoinToken, now: datetime) -> EventRecord:
        return EventRecord.of(
            EventKind.NODE_ADDED,
            time=now,
            node=self._node,
            object_id=node,
            object_name=application.name,
            sentence=f"{application.name} joined the cluster as node {node}, with a token that {token.actor} made",
            after={"name": application.name, "hosts": list(application.hosts[:_MAX_HOSTS])},
            actor=token.actor,
        )


def _checked(application: Application) -> str:
    """The hash of the machine's key; all that could be wrong with its request is refused before anything changes.

    Raises CallerError: 13 for the request, 87 for a host that cannot stand in a certificate, 123 for the name.
    """
    from quorate.peers.authority import request_fingerprint

    check_name("node", application.name)
    for host in application.hosts:
        if not 1 <= len(host) <= _MAX_HOST or not host.isascii() or not host.isprintable():
            sentence = f"{host[:80]!r} is neither an address nor a name in ASCII: a certificate cannot name it"
            raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    return request_fingerprint(application.request.encode())
