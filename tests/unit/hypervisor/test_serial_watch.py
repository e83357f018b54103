from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from quorate.hypervisor.serial_watch import Line, SerialWatch, report

A, B = Path("a"), Path("b")


def beats(source: Path, counts: Iterable[int], begin: float = 0.0) -> list[Line]:
    return [Line(begin + 0.01 * n, source, b"Q %010d" % count) for n, count in enumerate(counts)]


def test_a_guest_that_moved_is_continuous() -> None:
    lines = beats(A, range(1, 11)) + beats(B, range(11, 21), 0.15)
    seen = report(lines)
    assert seen.continuous
    assert (seen.first, seen.last, seen.beats, seen.turns) == (1, 20, 20, (A, B))
    assert seen.longest_gap == pytest.approx(0.06)
    assert seen.gap_after == 10


def test_there_and_back_is_continuous() -> None:
    assert report(beats(A, range(1, 5)) + beats(B, range(5, 9), 1) + beats(A, range(9, 12), 2)).continuous


def test_missing_and_repeated_counts_are_named() -> None:
    seen = report(beats(A, [1, 2, 5, 5, 6]))
    assert (seen.missing, seen.repeated, seen.continuous) == ((3, 4), (5,), False)


def test_two_running_copies_interleave() -> None:
    lines = sorted(beats(A, range(100, 110)) + beats(B, range(100, 110), 0.005), key=lambda line: line.at)
    assert report(lines).interleaved
    cold = sorted(beats(A, range(100, 110)) + beats(B, range(1, 11), 0.005), key=lambda line: line.at)
    assert report(cold).interleaved


def test_a_cold_start_elsewhere_or_back_home_does_not_interleave() -> None:
    assert not report(beats(A, range(1, 11)) + beats(B, range(1, 11), 1)).interleaved
    assert not report(beats(A, range(1, 11)) + beats(B, range(11, 20), 1) + beats(A, range(1, 9), 2)).interleaved


def test_what_is_no_beat_is_shown() -> None:
    seen = report([*beats(A, [1, 2]), Line(0.1, A, b"BAD 00200000 00000000")])
    assert seen.other == ("BAD 00200000 00000000",)
    assert not seen.continuous


def test_nothing_seen_is_not_continuous() -> None:
    assert not report([]).continuous


@pytest.mark.parametrize("cut", range(13))
def test_a_line_cut_at_the_hand_over_is_joined(tmp_path: Path, cut: int) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    line = b"Q 0000000003\n"
    with SerialWatch(destination, source) as watch:
        source.write_bytes(b"Q 0000000001\nQ 0000000002\n" + line[:cut])
        destination.write_bytes(line[cut:] + b"Q 0000000004\n")
    assert watch.report().continuous
    assert watch.report().last == 4


@pytest.mark.parametrize("cut", range(1, 13))
def test_half_a_line_of_a_guest_that_was_killed_does_not_hide_that_it_began_anew(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    with SerialWatch(path) as watch:
        path.write_bytes(b"Q 0000000001\n" + b"Q 0000000002"[:cut] + b"Q 0000000001\nQ 0000000002\n")
    assert [line.count for line in watch.lines] == [1, 1, 2]
    assert watch.report().repeated == (1,)


def test_files_are_followed_while_they_grow(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"Q 0000000001\n")
    with SerialWatch(path, from_end=True) as watch:
        for count in range(2, 6):
            with path.open("ab") as file:
                file.write(b"Q %010d\n" % count)
            assert watch.wait_beats(max(0, count - 1 - len(watch.lines)), 2.0, path)
        watch.add(tmp_path / "other")
        (tmp_path / "other").write_bytes(b"Q 0000000006\n")
        assert not watch.wait_beats(5, 0.01)
    assert (watch.report().first, watch.report().last) == (2, 6)
    assert watch.report(since=watch.lines[-1].at).beats == 1


def test_a_watch_that_begins_in_the_middle_of_a_line_hears_the_whole_of_it(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    log.write_bytes(b"Q 0000000001\nQ 0000000002\nQ 00000")
    with SerialWatch(log, from_end=True) as watch:
        with log.open("ab") as file:
            file.write(b"00003\nQ 0000000004\n")
        assert watch.wait_beats(2, 10)
        report = watch.report()
    assert (report.first, report.last, report.other) == (3, 4, ())
