"""The brains of a simulated world. As a rule those of production; whoever plants a fault exchanges one of them.

A brain is exchanged for a subclass with another `step`, a function for another function: nothing is patched. What the
hands of production guarantee besides is a `Hand`, and can be taken away.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.clusapi.machine import Step
from quorate.cluster import observer
from quorate.cluster.coordinator import Coordinator
from quorate.cluster.lease import Holder
from quorate.cluster.movements import Movements
from quorate.cluster.observer import EndVerdict, Judge, Subject
from quorate.cluster.promise import Asker, Promises
from quorate.migration import recovery
from quorate.migration.incoming import Incoming
from quorate.migration.outgoing import Outgoing
from quorate.migration.ownership import OwnershipRecord
from quorate.migration.recovery import Found, FoundIncoming, IncomingJournal, OutgoingJournal


class Hand(Enum):
    """Something that the hands see to. In a world of which it is a weakness they do not."""

    SWITCHOVER_ACK = "QEMU never stops a guest by itself"
    STOPPED_FOR_GOOD = "a stop is answered when the guest stands for good"
    GUARD = "a guard ends what runs when the deadline has passed"
    GUARD_OF_STANDING = "the guard ends what stands, too"
    GUARD_BEFORE_START = "no virtual CPU starts without a live guard"
    LEASE_BEFORE_START = "no virtual CPU starts under another incarnation of the lease, or without one"
    INCARNATION = "a session hears of a lapse before anything else"
    SESSION = "a word about another session is nothing"
    OWN_WRITE = "every start begins with an answered write of ownership"
    COMPARE = "a take-over compares what it was decided on"
    JOURNAL = "what must be noted is noted before"
    QUEUE = "a virtual machine is in the queue of moves once, and in one migration"


@dataclass(frozen=True, slots=True)
class Brains:
    """What decides in a world."""

    holder: Callable[[str, float], Holder] = Holder
    """Made of a daemon's own id and the deadline that an earlier one has left."""
    asker: Callable[[], Asker] = Asker
    promises: Callable[[], Promises] = Promises
    may_end: Callable[[Subject, Judge, float, bool], EndVerdict] = lambda subject, judge, now, fenced: observer.may_end(
        subject, judge, now, fenced=fenced
    )
    coordinator: Callable[[NodeId], Coordinator] = Coordinator
    movements: Callable[[NodeId], Movements] = Movements
    outgoing: Callable[[SessionId, NodeId, NodeId, ImageId, ImageId, OwnershipRecord], Outgoing] = Outgoing
    """Made of the session, this node, the destination, the image here and there, and the record."""
    incoming: Callable[[SessionId, NodeId, NodeId, ImageId, ImageId], Incoming] = Incoming
    """Made of the session, this node, the source, the image here and there."""
    recover_outgoing: Callable[[OutgoingJournal, OwnershipRecord, Found, float], Step[Outgoing]] = (
        recovery.recover_outgoing
    )
    recover_incoming: Callable[[IncomingJournal, OwnershipRecord, FoundIncoming, float], Step[Incoming]] = (
        recovery.recover_incoming
    )
    weaknesses: frozenset[Hand] = frozenset()


PRODUCTION = Brains()
