"""A node's notes of the migrations that it takes part in: one small file per VM and side, in the run directory.

They let a restarted daemon go on where the killed one was (rules R4, R5, R7). They need not outlive the machine, as
the QEMUs do not either: writing is a rename without waiting for a disk, which keeps it out of the guest's gap, and a
note of an earlier boot is worth nothing and is removed.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import structlog

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import GroupId, ImageId, NodeId, SessionId, VmId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_flag, json_int, json_object, json_text
from quorate.clusapi.status import Status
from quorate.engine.paths import boot_id
from quorate.migration.ownership import OwnershipRecord
from quorate.migration.recovery import IncomingJournal, Noted, OutgoingJournal

VERSION = 1
_NOTED = frozenset(noted.value for noted in Noted)

_log = structlog.get_logger("journal")


@dataclass(frozen=True, slots=True)
class OutgoingNote:
    """What a source noted, and which VM it is about."""

    group: GroupId
    vm_id: VmId
    journal: OutgoingJournal


@dataclass(frozen=True, slots=True)
class IncomingNote:
    """What a destination noted, and which VM it is about."""

    group: GroupId
    vm_id: VmId
    journal: IncomingJournal


class Journals:
    """All notes of one node."""

    def __init__(self, directory: Path) -> None:
        """Keep the notes in this directory, which exists."""
        self._directory = directory
        self._boot = boot_id()

    def write_outgoing(self, note: OutgoingNote) -> None:
        """Note how far a source has come. Raises FaultError."""
        journal = note.journal
        self._write(
            self._path(note.vm_id, "out"),
            {
                "group": note.group,
                "vm_id": note.vm_id,
                "session": journal.session,
                "me": journal.me,
                "destination": journal.destination,
                "image": journal.image,
                "destination_image": journal.destination_image,
                "noted": journal.noted.value,
            },
        )

    def write_incoming(self, note: IncomingNote) -> None:
        """Note how far a destination has come. Raises FaultError."""
        journal = note.journal
        self._write(
            self._path(note.vm_id, "in"),
            {
                "group": note.group,
                "vm_id": note.vm_id,
                "session": journal.session,
                "me": journal.me,
                "source": journal.source,
                "image": journal.image,
                "source_image": journal.source_image,
                "told": None if journal.told is None else _record_to_json(journal.told),
                "cont_may_be_out": journal.cont_may_be_out,
            },
        )

    def forget_outgoing(self, vm_id: VmId) -> None:
        """Remove a source's note."""
        self._path(vm_id, "out").unlink(missing_ok=True)

    def forget_incoming(self, vm_id: VmId) -> None:
        """Remove a destination's note."""
        self._path(vm_id, "in").unlink(missing_ok=True)

    def outgoing(self) -> tuple[OutgoingNote, ...]:
        """Read what the node's sources noted in this boot of the machine."""
        return tuple(
            OutgoingNote(
                GroupId(json_text(fields, "group")),
                VmId(json_text(fields, "vm_id")),
                OutgoingJournal(
                    session=SessionId(json_text(fields, "session")),
                    me=NodeId(json_text(fields, "me")),
                    destination=NodeId(json_text(fields, "destination")),
                    image=ImageId(json_text(fields, "image")),
                    destination_image=ImageId(json_text(fields, "destination_image")),
                    noted=Noted(json_text(fields, "noted")),
                ),
            )
            for fields in self._read_all("out")
        )

    def incoming(self) -> tuple[IncomingNote, ...]:
        """Read what the node's destinations noted in this boot of the machine."""
        return tuple(
            IncomingNote(
                GroupId(json_text(fields, "group")),
                VmId(json_text(fields, "vm_id")),
                IncomingJournal(
                    session=SessionId(json_text(fields, "session")),
                    me=NodeId(json_text(fields, "me")),
                    source=NodeId(json_text(fields, "source")),
                    image=ImageId(json_text(fields, "image")),
                    source_image=ImageId(json_text(fields, "source_image")),
                    told=_record_from_json(json_object(fields, "told")) if fields.get("told") else None,
                    cont_may_be_out=json_flag(fields, "cont_may_be_out"),
                ),
            )
            for fields in self._read_all("in")
        )

    def _path(self, vm_id: VmId, side: str) -> Path:
        return self._directory / f"{vm_id}.{side}.journal"

    def _write(self, path: Path, fields: dict[str, JsonValue]) -> None:
        text = json.dumps({"version": VERSION, "boot": self._boot, **fields})
        new = path.with_suffix(".new")
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(path)
        except OSError as error:
            raise FaultError(Status.ERROR_IO_DEVICE, f"the journal {path.name} cannot be written: {error}") from error

    def _read_all(self, side: str) -> tuple[JsonObject, ...]:
        notes = []
        for path in sorted(self._directory.glob(f"*.{side}.journal")):
            try:
                fields = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                _log.error("a journal is unreadable and is left aside", path=str(path), error=str(error))
                continue
            if not isinstance(fields, dict) or (side == "out" and fields.get("noted") not in _NOTED):
                _log.error("a journal is not one of ours and is left aside", path=str(path))
            elif fields.get("boot") == self._boot:
                notes.append(fields)
            else:
                path.unlink(missing_ok=True)
        return tuple(notes)


def _record_to_json(record: OwnershipRecord) -> dict[str, JsonValue]:
    return {
        "holder": record.holder,
        "epoch": record.epoch,
        "image": record.image,
        "giver": record.giver,
        "giver_image": record.giver_image,
        "revision": record.revision,
    }


def _record_from_json(fields: JsonObject) -> OwnershipRecord:
    return OwnershipRecord(
        holder=NodeId(json_text(fields, "holder")),
        epoch=json_int(fields, "epoch"),
        image=ImageId(json_text(fields, "image")) if fields.get("image") else None,
        giver=NodeId(json_text(fields, "giver")) if fields.get("giver") else None,
        giver_image=ImageId(json_text(fields, "giver_image")) if fields.get("giver_image") else None,
        revision=json_int(fields, "revision"),
    )
