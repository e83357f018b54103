"""An outside observer: reads guests' serial logs while they grow and says what a stranger would have seen.

A :class:`SerialWatch` follows one or more files (source and destination of a migration) with a thread of its own,
notes when each complete line came, and reports: the counts of the built-in guest, what is missing or came twice, the
longest gap between two beats, and whether lines of two files interleave, which would mean that two copies ran.

At the hand-over a line can be cut: its beginning is in the source's file, the rest in the destination's. A first line
of a file that is no beat is joined to the unfinished end of another file. A guest that is killed may leave half a line,
too, which the first word of its successor goes on: that counts, and the half is dropped.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final

_POLL: Final = 0.0005
_LONGEST_LINE: Final = 4096
_MARK: Final = b"Q "


@dataclass(frozen=True, slots=True)
class Line:
    """One complete line."""

    at: float  # time.monotonic() when its end was first seen
    source: Path
    text: bytes

    @property
    def count(self) -> int | None:
        """The beat's number; None if it is another line."""
        number = self.text[len(_MARK) :]
        return int(number) if self.text.startswith(_MARK) and len(number) == 10 and number.isdigit() else None


@dataclass(frozen=True, slots=True)
class SerialReport:
    """What was seen."""

    first: int | None
    last: int | None
    beats: int
    missing: tuple[int, ...]  # between first and last
    repeated: tuple[int, ...]
    longest_gap: float  # seconds between two consecutive beats
    gap_after: int | None  # the beat before that gap
    interleaved: bool  # lines of two files alternate: two copies ran
    other: tuple[str, ...]  # lines that are no beats: BAD, FAULT, OFF
    turns: tuple[Path, ...]  # the files in the order in which they spoke

    @property
    def continuous(self) -> bool:
        """Answer whether one guest lived on: nothing skipped, repeated, out of order or found bad."""
        return bool(self.beats) and not (self.missing or self.repeated or self.interleaved or self.other)


class SerialWatch:
    """Follows serial logs; use it as a context manager, or call :meth:`start` and :meth:`stop`.

    What stands in a file already when the watch begins is read, but its times are those of the reading; with
    ``from_end`` it is left out. A file need not exist yet.
    """

    def __init__(self, *paths: Path, from_end: bool = False, poll: float = _POLL) -> None:
        self._poll = poll
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._lines: list[Line] = []
        self._tails: dict[Path, bytes] = {}
        self._offsets: dict[Path, int] = {}
        self._grown = threading.Condition(self._lock)
        for path in paths:
            self.add(path, from_end=from_end)
        self._thread = threading.Thread(target=self._run, name="serial-watch", daemon=True)

    def add(self, path: Path, *, from_end: bool = False) -> None:
        """Follow one more file; it is also joined when the watch runs already."""
        with self._lock:
            self._offsets[path] = _end_of_last_line(path) if from_end and path.exists() else 0
            self._tails[path] = b""

    def start(self) -> SerialWatch:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Read what has come, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> SerialWatch:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def lines(self) -> tuple[Line, ...]:
        """All complete lines so far, in the order in which they were seen."""
        with self._lock:
            return tuple(self._lines)

    def wait_beats(self, number: int, timeout: float, path: Path | None = None) -> bool:
        """Wait until ``number`` more beats have come (in ``path``, if given); False when ``timeout`` is over first."""
        with self._grown:
            wanted = self._beats(path) + number
            return self._grown.wait_for(lambda: self._beats(path) >= wanted, timeout)

    def report(self, since: float = 0.0) -> SerialReport:
        """Say what was seen since the moment ``since`` of time.monotonic()."""
        return report([line for line in self.lines if line.at >= since])

    def _beats(self, path: Path | None) -> int:
        return sum(1 for line in self._lines if line.count is not None and path in (None, line.source))

    def _run(self) -> None:
        while not self._stopping.wait(self._poll):
            self._read()
        self._read()

    def _read(self) -> None:
        """Read all files, then take what came: lines of two files in one look are put in the order of their counts."""
        with self._grown:
            batches = [batch for path in tuple(self._offsets) if (batch := self._new_lines(path))]
            batches = [[line if line.count is not None else self._joined(line) for line in batch] for batch in batches]
            for batch in sorted(batches, key=_first_count):
                self._lines += batch
            if batches:
                self._grown.notify_all()

    def _new_lines(self, path: Path) -> list[Line]:
        try:
            if path.stat().st_size == self._offsets[path]:
                return []
            with path.open("rb") as file:
                file.seek(self._offsets[path])
                content = file.read()
        except FileNotFoundError:
            return []
        now = time.monotonic()
        self._offsets[path] += len(content)
        *complete, self._tails[path] = (self._tails[path] + content).split(b"\n")
        return [Line(now, path, text) for text in complete]

    def _joined(self, line: Line) -> Line:
        """Make a beat of a line that is none: with the beginning that another file ends with, or without a dead one."""
        for path, tail in self._tails.items():
            whole = Line(line.at, line.source, tail + line.text)
            if path != line.source and tail and whole.count is not None:
                self._tails[path] = b""
                return whole
        fresh = Line(line.at, line.source, line.text[max(0, line.text.rfind(_MARK)) :])
        return fresh if fresh.count == 1 else line


def _end_of_last_line(path: Path) -> int:
    """Find where the line begins that is being written at the moment: half of it would be no beat."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        beginning = max(0, size - _LONGEST_LINE)
        file.seek(beginning)
        return beginning + file.read(size - beginning).rfind(b"\n") + 1


def _first_count(batch: Sequence[Line]) -> int:
    return next((count for line in batch if (count := line.count) is not None), 0)


def report(lines: Sequence[Line]) -> SerialReport:
    """Work out what lines tell."""
    beats = [(line, count) for line in lines if (count := line.count) is not None]
    counts = [count for _, count in beats]
    seen = Counter(counts)
    present = range(min(counts), max(counts) + 1) if counts else range(0)
    gaps = [(after.at - before.at, count) for (before, count), (after, _) in pairwise(beats)]
    longest, gap_after = max(gaps, default=(0.0, None), key=lambda gap: gap[0])
    return SerialReport(
        first=counts[0] if counts else None,
        last=counts[-1] if counts else None,
        beats=len(beats),
        missing=tuple(number for number in present if number not in seen),
        repeated=tuple(sorted(count for count, times in seen.items() if times > 1)),
        longest_gap=longest,
        gap_after=gap_after,
        interleaved=_interleaved(beats),
        other=tuple(line.text.decode(errors="replace") for line in lines if line.count is None),
        turns=tuple(source for source, _ in groupby(line.source for line, _ in beats)),
    )


def _interleaved(beats: Sequence[tuple[Line, int]]) -> bool:
    """Answer whether a file that had fallen silent spoke again without being ahead of the other, or starting anew."""
    spoken: set[Path] = set()
    for (before, last), (after, first) in pairwise(beats):
        if after.source != before.source:
            spoken.add(before.source)
            if after.source in spoken and first <= last and first != 1:
                return True
    return False
