"""What the migration brains know of a group's ownership record, and the writes that they ask for.

Every write compares the whole record with what was read and raises the epoch by one (DESIGN.md §4). A brain never
writes: it emits `SendCas`, and the answer comes back as `CasAnswered`, `CasRefused` or `CasUnanswered`.
"""

from dataclasses import dataclass
from enum import Enum

from quorate.clusapi.identity import ImageId, NodeId


@dataclass(frozen=True, slots=True)
class OwnershipRecord:
    """The record as it stood at a revision of the database."""

    holder: NodeId
    epoch: int
    image: ImageId | None
    giver: NodeId | None
    giver_image: ImageId | None
    revision: int

    def is_gift_of(self, giver: NodeId, giver_image: ImageId) -> bool:
        """Tell whether this is a gift that its giver may still take back: given, and not yet marked."""
        return self.giver == giver and self.giver_image == giver_image and self.holder != giver


class CasKind(Enum):
    """Why ownership is written."""

    GIVE = "give"
    """The source names the destination; its own image stays on record as the giver's."""
    KEEP = "keep"
    """The holder writes itself again: settles a write without an answer, begins every start of a restarted daemon."""
    TAKE_BACK = "take back"
    """The giver names itself again, before `yours` (rule R5)."""
    CLAIM = "claim"
    """A loaded destination that was not told takes what the record gives it (rule R6)."""
    MARK = "mark"
    """The destination runs: the giver's image is off the record and may be ended (rule R4)."""
    GIVE_BACK = "give back"
    """The destination never ran and cannot: the record names the giver's image again (rule R7)."""


@dataclass(frozen=True, slots=True)
class Cas:
    """One compare-and-swap: succeeds only while the record still stands at `expected.revision`."""

    kind: CasKind
    attempt: int
    """Answers carry it back; the answer of an earlier attempt is not taken for that of a later one."""
    expected: OwnershipRecord
    holder: NodeId
    image: ImageId | None
    giver: NodeId | None = None
    giver_image: ImageId | None = None

    @property
    def epoch(self) -> int:
        """Give the epoch that this write brings: the next one, always."""
        return self.expected.epoch + 1

    def has_landed_as(self, current: OwnershipRecord) -> bool:
        """Tell whether the record that refused us is this very write of ours, whose answer was lost.

        Images are given their ids once, so that nobody else writes the same five fields at the same epoch.
        """
        return (current.holder, current.epoch, current.image, current.giver, current.giver_image) == (
            self.holder,
            self.epoch,
            self.image,
            self.giver,
            self.giver_image,
        )


@dataclass(frozen=True, slots=True)
class CasAnswered:
    """The write landed."""

    attempt: int
    record: OwnershipRecord


@dataclass(frozen=True, slots=True)
class CasRefused:
    """The record stood elsewhere, as `current` tells: this write did not land and never will."""

    attempt: int
    current: OwnershipRecord


@dataclass(frozen=True, slots=True)
class CasUnanswered:
    """The database did not answer: the write may have landed, or may land later."""

    attempt: int


@dataclass(frozen=True, slots=True)
class SendCas:
    """Effect: write ownership."""

    cas: Cas
