"""How many migrations leave this node at a time: MaximumParallelMigrations, and who waits.

A place is reserved when a migration is accepted, before anything is written, so that two that are accepted at the same
moment never take the same one. Those that wait begin in the order in which they were accepted.
"""

from collections.abc import Callable
from typing import Final

from quorate.clusapi.identity import SessionId
from quorate.engine.outgoing_session import OutgoingSession
from quorate.migration import outgoing_events as e
from quorate.migration.outgoing import Phase

DEFAULT_PARALLEL: Final = 1
"""MaximumParallelMigrations where the cluster does not say otherwise."""


class Places:
    """The places of one node."""

    def __init__(self, allowed: Callable[[], int]) -> None:
        """``allowed`` tells how many may be taken at this moment."""
        self._allowed = allowed
        self._taken: set[SessionId] = set()
        self._accepted: dict[SessionId, OutgoingSession] = {}

    def reserve(self, session: SessionId) -> bool:
        """Take a place for a migration that is about to be accepted; False: it will have to wait for one."""
        if len(self._taken) >= max(1, self._allowed()):
            return False
        self._taken.add(session)
        return True

    def accept(self, session: OutgoingSession) -> None:
        """Let a migration that is written down begin, or wait."""
        self._accepted[session.brain.session] = session
        self.fill()

    def leave(self, session: SessionId) -> None:
        """Give a place up: the migration has ended, or was not accepted after all."""
        self._taken.discard(session)
        self._accepted.pop(session, None)
        self.fill()

    def fill(self) -> None:
        """Let those that wait begin while there are places."""
        for number, session in tuple(self._accepted.items()):
            if session.brain.phase is Phase.QUEUED and (number in self._taken or self.reserve(number)):
                session.post(e.PlaceFree())
