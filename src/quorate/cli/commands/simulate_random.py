"""``quorate simulate --random``: many histories on several processes, and the few that break a law made short."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final

from quorate.cli import output
from quorate.cli.quiet import no_logs
from quorate.cli.session import session
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status
from quorate.simulator import playing
from quorate.simulator.history import Shape
from quorate.simulator.scenario_text import Scenario, unparse
from quorate.simulator.tally import Tally, Told
from quorate.simulator.world import Options, run

_BATCH: Final = 5
"""Histories that a process plays at a time, at most."""
_LISTEN: Final = 0.2
"""Seconds after which a Ctrl-C is heard at the latest."""
_SHORTENED: Final = 3
"""Of so many histories that break a law a short one is made; more of them seldom tell more."""
_TELL: Final = 30.0
"""Seconds between two lines about how far it is, where nobody sits at a terminal."""
_SHAPE: Final = Shape()


def play_random(number: int, seed: int, jobs: int, keep: Path, shrink: float) -> int:
    """Play histories and print what they had; give the exit code.

    Ctrl-C and SIGTERM, which is what a timeout sends, end it at once; it tells of those played until then.
    """
    if number < 1 or jobs < 1 or shrink < 0:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, "--random and --jobs are at least 1, and --shrink is not negative"
        )
    tally = Tally()
    kept: list[_Kept] = []
    progress = _Progress(tally, number)
    begun = time.monotonic()
    is_interrupted = False
    with _ended_by_sigterm():
        try:
            for told in _played(number, seed, jobs):
                tally.add(told)
                progress.show(told)
            seconds = time.monotonic() - begun
            tally.broken.sort(key=lambda told: told.seed)
            for told in tally.broken:
                kept.append(_kept(told, keep, shrink if len(kept) < _SHORTENED else 0.0))
        except KeyboardInterrupt:
            is_interrupted = True
            seconds = time.monotonic() - begun
            progress.leave()
            kept += [_kept(told, keep, 0.0) for told in tally.broken[len(kept) :]]
        _print(_facts(tally, kept, seed, seconds, is_interrupted), tally, kept)
    if is_interrupted:
        return output.EXIT_INTERRUPTED
    return output.EXIT_FAULT if tally.broken else output.EXIT_SUCCESS


def _played(number: int, seed: int, jobs: int) -> Iterator[Told]:
    """Play so many histories, in processes of their own if several may work at once."""
    size = max(1, min(_BATCH, number // (4 * jobs)))
    batches = [range(first, min(first + size, seed + number)) for first in range(seed, seed + number, size)]
    if jobs == 1:
        with no_logs():
            yield from map(play_one, range(seed, seed + number))
        return
    with _noted_interrupts() as interrupted, ProcessPoolExecutor(jobs, initializer=_serve) as pool:
        try:
            waiting: set[Future[list[Told]]] = {pool.submit(play_batch, batch) for batch in batches}
            while waiting:
                done, waiting = wait(waiting, timeout=_LISTEN, return_when=FIRST_COMPLETED)
                if interrupted.is_set():
                    raise KeyboardInterrupt
                for future in done:
                    yield from future.result()
        except BaseException:
            for child in multiprocessing.active_children():
                child.kill()  # what they would still play is wanted by nobody
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Take SIGTERM for a Ctrl-C, once: `timeout` sends it to all of `make`, which then sends it again."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _noted_interrupts() -> Iterator[threading.Event]:
    """Note what ends it, while there is a pool: an exception in the middle of a fork is lost in its hooks."""
    seen = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        seen.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        signal.signal(signal.SIGTERM, signal.SIG_IGN if seen.is_set() else before[signal.SIGTERM])


def _serve() -> None:
    """Begin as a process of the pool: it ends when the one that started it does, however that ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a process of a pool has one"

    def watch() -> None:
        parent.join()
        os._exit(output.EXIT_INTERRUPTED)

    threading.Thread(target=watch, daemon=True).start()


def play_batch(seeds: range) -> list[Told]:
    """Play some histories; what a process of the pool is given."""
    with no_logs():
        return [play_one(seed) for seed in seeds]


def play_one(seed: int) -> Told:
    """Play the history of one seed."""
    history = playing.history(seed, _SHAPE)
    begun = time.monotonic()
    try:
        played = run(history.setup, history.steps, history.seed, history.until, options=Options())
    except Exception as error:
        error.add_note(f"in the random history of seed {seed}")
        raise
    return Told.of(played, time.monotonic() - begun)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A history that broke a law, in a file."""

    path: Path
    how: str
    """How short it is."""


def _kept(told: Told, directory: Path, seconds: float) -> _Kept:
    """Write a history that breaks a law into a file, made short if there is time for it."""
    history = playing.history(told.seed, _SHAPE)
    end = time.monotonic() + seconds
    with no_logs():
        shrunk = playing.shrink_history(history, lambda: time.monotonic() < end) if seconds else None
    scenario: Scenario = history if shrunk is None else shrunk.scenario
    title = f"Seed {told.seed}: {told.broken if shrunk is None else shrunk.failure}"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"seed-{told.seed}.txt"
    path.write_text(unparse(replace(scenario, title=title)), encoding="utf-8")
    how = f"{len(scenario.steps)} steps"
    if shrunk is not None:
        how += f" of {len(history.steps)}, after {shrunk.runs} tries{'' if shrunk.is_least else ', when time was up'}"
    return _Kept(path, how)


class _Progress:
    """Says how far it is: at a terminal in one line that is written again and again, else in a line now and then."""

    def __init__(self, tally: Tally, number: int) -> None:
        self._tally = tally
        self._number = number
        self._begun = self._told_at = time.monotonic()
        self._is_open = False
        """The cursor stands at the end of a line."""

    def show(self, told: Told) -> None:
        """Another history was played. What broke a law is told at once: nobody waits for hours to hear of it."""
        if session.json:
            return
        if told.broken:
            self.leave()
            sys.stderr.write(f"seed {told.seed}: {told.broken}\n")
        now, tally = time.monotonic(), self._tally
        is_last = tally.histories == self._number
        left = (now - self._begun) / tally.histories * (self._number - tally.histories)
        broken = f", {len(tally.broken)} broken" if tally.broken else ""
        line = f"{tally.histories} of {self._number} histories{broken}, {left:.0f} s left"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{line} \033[K")
            self._is_open = True
            if is_last:
                self.leave()
        elif now - self._told_at >= _TELL and not is_last:
            self._told_at = now
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def leave(self) -> None:
        """Let something else be written."""
        if self._is_open:
            sys.stderr.write("\n")
            self._is_open = False


def _facts(tally: Tally, kept: list[_Kept], seed: int, seconds: float, is_interrupted: bool) -> JsonObject:
    return {
        "histories": tally.histories,
        "seed": seed,
        "seconds": round(seconds, 1),
        "interrupted": is_interrupted,
        "had": {**tally.had},
        "in all": {**tally.totals},
        "median": {**tally.medians()},
        "least": {**tally.least()},
        "broken": [
            {"seed": told.seed, "violation": told.broken, "file": str(one.path)}
            for told, one in zip(tally.broken, kept, strict=True)
        ],
    }


def _print(facts: JsonObject, tally: Tally, kept: list[_Kept]) -> None:
    if session.json:
        output.print_json(facts)
        return
    title = f"{tally.histories} histories, from seed {facts['seed']}, in {facts['seconds']:.0f} s"
    columns = ("What happened", "Histories", "In all")
    output.console().print(output.table(title, columns, tally.rows(), right=("Histories", "In all")))
    least = tally.least()
    rows = [(name, str(number), str(least[name])) for name, number in tally.medians().items()]
    columns = ("Of a history", "Median", "Least")
    output.console().print(output.table("", columns, rows, right=("Median", "Least")))
    if tally.slowest is not None:
        output.say(f"The slowest: seed {tally.slowest.seed}, {tally.slowest.seconds:.1f} s.", {})
    for told, one in zip(tally.broken, kept, strict=True):
        output.say(f"seed {told.seed}: {told.broken}", {})
        output.say(f"  {one.path} ({one.how}); play it: quorate simulate --story {one.path}", {})
    broke = f"{len(tally.broken)} broke a law" if tally.broken else "No law was broken"
    output.say(f"{broke}{', and it was interrupted' if facts['interrupted'] else ''}.", {})
