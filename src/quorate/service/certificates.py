"""A node looks after its certificate: renewed in time by itself, used at once, told as an event.

The authority's key is in the cluster database, which nodes alone can read, so a node signs for itself; an evicted one
cannot, since it is let near the database no more. The key stays the same: a renewal is the change of one file.

Users' certificates are renewed by people. When one is about to expire an event says so, once, whichever node sees it
first.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.credentials import UserRecord, expires_soon
from quorate.database.member_records import write_time
from quorate.database.records import Versioned
from quorate.engine.view import ClusterView
from quorate.peers.identity import NodeIdentity
from quorate.peers.tls import NodeTls

LOOK_EVERY: Final = 60.0
"""Seconds between two looks at the files and the dates."""

_log = structlog.get_logger("certificates")


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class CertificateKeeper:
    """Looks after one node's certificate, and warns of users'."""

    def __init__(
        self,
        node: NodeId,
        tls: NodeTls,
        view: ClusterView,
        database: ClusterDatabase,
        names: Sequence[str],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """``names`` are the hosts under which the node listens; a renewed certificate is good for them too."""
        self._node = node
        self._tls = tls
        self._view = view
        self._database = database
        self._names = tuple(names)
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look now and then."""
        self._task = asyncio.create_task(self._keep(), name="certificates")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> None:
        """Do what is due: use files that were replaced, renew, warn. Raises ClusterError when something fails."""
        if self._tls.refresh():
            _log.info("certificates were replaced, and are used from now on", directory=str(self._identity.directory))
        await self.renew_if_due()
        for user in tuple(self._view.snapshot.users.values()):
            await self._warn(user)

    async def renew_if_due(self) -> bool:
        """Renew the certificate when a third of its life is left; answers whether it was. Raises ClusterError."""
        now = self._clock()
        # In a thread: the first time a large library is loaded, for which the daemon has no time.
        if self._node not in self._view.snapshot.nodes or not await asyncio.to_thread(
            self._identity.due_for_renewal, now
        ):
            return False
        from quorate.peers.authority import Authority, describe, issue_node, request_for

        record = await self._database.credentials.nodes_authority()
        signer = Authority(record.certificate.encode(), record.key.encode())
        pems = self._identity.load()
        old = describe(pems.certificate)
        names = tuple(dict.fromkeys((*old.names, *self._names)))
        request = request_for(pems.key, self._node)
        renewed = issue_node(signer, request, self._node, self._tls.instance_id, names, now)
        self._identity.save_certificate(renewed)
        self._tls.refresh()
        before, after = write_time(old.not_after), write_time(describe(renewed).not_after)
        name = self._view.snapshot.node(self._node).name
        sentence = f"the certificate of {name}, good until {before}, was renewed: it is good until {after}"
        _log.info("certificate renewed", sentence=sentence)
        event = self._event(EventKind.NODE_CERTIFICATE, self._node, name, sentence, before, after)
        await self._database.append_events((event,))
        return True

    async def _warn(self, user: Versioned[UserRecord]) -> None:
        record, now = user.value, self._clock()
        if record.warned or not expires_soon(record, now):
            return
        until = write_time(record.not_after)
        tense = "has expired" if now > record.not_after else "will expire"
        sentence = (
            f'the certificate of the user "{record.name}" {tense} at {until}: '
            f'"quorate user add {record.name} --role {record.role} --replace --out DIR" makes another'
        )
        event = self._event(EventKind.USER_EXPIRES, record.name, record.name, sentence, None, until)
        await self._database.credentials.note_warned(user, event)

    async def _keep(self) -> None:
        while True:
            try:
                await self.look()
            except ClusterError as error:
                _log.warning("certificates could not be looked after; tried again soon", sentence=error.sentence)
            except Exception:  # noqa: BLE001 - the supervisor of renewal: without it the node would drop out some day
                _log.exception("looking after certificates broke; tried again soon")
            await asyncio.sleep(LOOK_EVERY)

    @property
    def _identity(self) -> NodeIdentity:
        return self._tls.identity

    def _event(
        self, kind: EventKind, object_id: str, name: str, sentence: str, before: str | None, after: str
    ) -> EventRecord:
        return EventRecord.of(
            kind,
            time=self._clock(),
            node=self._node,
            object_id=object_id,
            object_name=name,
            sentence=sentence,
            before=before,
            after=after,
            actor=f"node {self._node}",
        )
