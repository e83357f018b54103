"""What one migration showed, however it was made."""

import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final

from quorate.hypervisor.serial_watch import Line, SerialWatch

_BEATS_BEFORE: Final = 300
"""Beats that the guest is heard before the migration is requested."""
_LISTEN_ON: Final = 0.3
"""Seconds that the guest is listened to after the migration is over."""
_LOOK_EVERY: Final = 0.002
_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration. Every time is in seconds; moments count from the request."""

    workload: str
    way: str
    number: int
    total: float
    """From the request until the guest was heard from the destination and the source's QEMU was gone."""
    gap: float
    """The longest silence of the guest between the request and the end."""
    handover: float
    """The silence between the last beat from the source and the first from the destination."""
    bytes_sent: int
    passes: int
    moments: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    """What speaks against the guest having lived on unharmed; empty as it should be."""
    busy: float = 0.0
    """Share of the machine that others used before the run."""
    is_cut: bool = False
    """It was given up after ``total``, for it did not come to an end; ``gap`` is what the guest felt until then."""

    @property
    def data_rate(self) -> float | None:
        """Give the bytes per second that got across from the first byte until all was loaded; None: not known."""
        if "listening" not in self.moments or "loaded" not in self.moments:
            return None
        return self.bytes_sent / (self.moments["loaded"] - self.moments["listening"])

    @property
    def ownership(self) -> float | None:
        """Give what the ownership change adds to the gap: from when all is loaded until the guest may run."""
        if "cont" not in self.moments or "loaded" not in self.moments:
            return None
        return max(0.0, self.moments["cont"] - self.moments["loaded"])


@dataclass(frozen=True, slots=True)
class Told:
    """What the one who migrated tells of it; moments in seconds of time.monotonic()."""

    bytes_sent: int
    passes: int
    moments: Mapping[str, float]


class Gone:
    """Notes when a process ended: ours or somebody else's."""

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd
        self._at = 0.0
        self._thread = threading.Thread(target=self._wait, name="gone", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll()
        self._at = time.monotonic()

    def at(self, timeout: float) -> float:
        """Wait for the end; give its moment."""
        self._thread.join(timeout)
        if not self._at:
            raise TimeoutError("the source's QEMU has not ended")
        return self._at


class Observer:
    """Listens to one guest on both sides, from before the request until after the end."""

    def __init__(self, source_log: Path, destination_log: Path, pidfd: int, busy: float) -> None:
        """Watch the logs of both sides, and the process of the source's QEMU; ``busy``: what others use."""
        self._destination = destination_log
        self._watch = SerialWatch(source_log, destination_log, from_end=True)
        self._pidfd = pidfd
        self._busy = busy
        self._requested = 0.0

    def __enter__(self) -> "Observer":
        self._gone = Gone(self._pidfd)
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.stop()

    def settle(self) -> None:
        """Wait until the guest has filled its memory and counts."""
        if not self._watch.wait_beats(_BEATS_BEFORE, _PATIENCE):
            raise TimeoutError("the guest is not heard")

    def request(self) -> float:
        """The migration is requested now; give the moment."""
        self._requested = time.monotonic()
        return self._requested

    def cut(self, workload: str, way: str, number: int, after: float, told: Told) -> Migration:
        """Say what was seen of a migration that does not come to an end."""
        return Migration(
            workload=workload,
            way=way,
            number=number,
            total=after,
            gap=self._longest_silence(self._requested + after),
            handover=0.0,
            bytes_sent=told.bytes_sent,
            passes=told.passes,
            faults=self._faults(),
            busy=self._busy,
            is_cut=True,
        )

    def result(self, workload: str, way: str, number: int, tell: Callable[[], Told]) -> Migration:
        """Wait for the end, listen a little longer, and say what was seen."""
        deadline = time.monotonic() + _PATIENCE
        while not (arrived := self._arrived()):
            if time.monotonic() > deadline:
                raise TimeoutError("the guest is not heard from the destination")
            time.sleep(_LOOK_EVERY)
        gone = self._gone.at(_PATIENCE)
        time.sleep(_LISTEN_ON)
        end = max(arrived, gone)
        beats = self._beats()
        left = max(line.at for line in beats if line.source != self._destination)
        told = tell()
        moments = {name: at - self._requested for name, at in told.moments.items()}
        moments |= {"heard": arrived - self._requested, "source gone": gone - self._requested}
        return Migration(
            workload=workload,
            way=way,
            number=number,
            total=end - self._requested,
            gap=self._longest_silence(end),
            handover=arrived - left,
            bytes_sent=told.bytes_sent,
            passes=told.passes,
            moments=dict(sorted(moments.items(), key=lambda item: item[1])),
            faults=self._faults(),
            busy=self._busy,
        )

    def _beats(self) -> list[Line]:
        return [line for line in self._watch.lines if line.count is not None and line.at >= self._requested]

    def _longest_silence(self, until: float) -> float:
        return max((after.at - last.at for last, after in pairwise(self._beats()) if last.at <= until), default=0.0)

    def _faults(self) -> tuple[str, ...]:
        report = self._watch.report(since=self._requested)
        checks = [
            (not report.missing, f"{len(report.missing)} beats are missing"),
            (not report.repeated, f"{len(report.repeated)} beats came twice"),
            (not report.interleaved, "both copies spoke"),
            (not report.other, f"the guest said {report.other[:1]}"),
        ]
        return tuple(sentence for holds, sentence in checks if not holds)

    def _arrived(self) -> float:
        return next((line.at for line in self._watch.lines if line.source == self._destination), 0.0)


def median(values: Sequence[float]) -> float:
    """Give the middle value; of an even number the mean of the two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
