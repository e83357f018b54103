"""``quorate simulate --random``: many histories on several processes, and the few that break a law made short."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
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

_BATCH: Final = 20
"""Histories that a process plays at a time."""
_SHORTENED: Final = 3
"""Of so many histories that break a law a short one is made; more of them seldom tell more."""
_SHAPE: Final = Shape()


def play_random(number: int, seed: int, jobs: int, keep: Path, shrink: float) -> int:
    """Play histories and print what they had; give the exit code."""
    if number < 1 or jobs < 1 or shrink < 0:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, "--random and --jobs are at least 1, and --shrink is not negative"
        )
    tally = Tally()
    begun = time.monotonic()
    for told in _played(number, seed, jobs):
        tally.add(told)
        _show_progress(tally, number, begun)
    seconds = time.monotonic() - begun
    tally.broken.sort(key=lambda told: told.seed)
    kept = [_kept(told, keep, shrink if index < _SHORTENED else 0.0) for index, told in enumerate(tally.broken)]
    _print(tally, kept, seed, seconds)
    return output.EXIT_FAULT if tally.broken else output.EXIT_SUCCESS


def _played(number: int, seed: int, jobs: int) -> Iterator[Told]:
    """Play so many histories, in processes of their own if several may work at once."""
    batches = [range(first, min(first + _BATCH, seed + number)) for first in range(seed, seed + number, _BATCH)]
    if jobs == 1:
        for batch in batches:
            yield from play_batch(batch)
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting: set[Future[list[Told]]] = {pool.submit(play_batch, batch) for batch in batches}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def play_batch(seeds: range) -> list[Told]:
    """Play some histories; what a process of the pool is given."""
    with no_logs():
        return [play_one(seed) for seed in seeds]


def play_one(seed: int) -> Told:
    """Play the history of one seed."""
    history = playing.history(seed, _SHAPE)
    begun = time.monotonic()
    played = run(history.setup, history.steps, history.seed, history.until, options=Options())
    return Told.of(played, time.monotonic() - begun)


def _kept(told: Told, directory: Path, seconds: float) -> Path:
    """Write a history that breaks a law into a file, made short if there is time for it."""
    history = playing.history(told.seed, _SHAPE)
    end = time.monotonic() + seconds
    with no_logs():
        shrunk = playing.shrink_history(history, lambda: time.monotonic() < end) if seconds else None
    scenario: Scenario = history if shrunk is None else shrunk.scenario
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"seed-{told.seed}.txt"
    path.write_text(unparse(replace(scenario, title=f"Seed {told.seed}: {told.broken}")), encoding="utf-8")
    return path


def _show_progress(tally: Tally, number: int, begun: float) -> None:
    if not sys.stderr.isatty() or session.json:
        return
    left = (time.monotonic() - begun) / tally.histories * (number - tally.histories)
    end = "\n" if tally.histories == number else ""
    broken = f", {len(tally.broken)} broken" if tally.broken else ""
    sys.stderr.write(f"\r{tally.histories} of {number} histories{broken}, {left:.0f} s left \033[K{end}")
    sys.stderr.flush()


def _print(tally: Tally, kept: list[Path], seed: int, seconds: float) -> None:
    medians = tally.medians()
    facts: JsonObject = {
        "histories": tally.histories,
        "seed": seed,
        "seconds": round(seconds, 1),
        "had": {**tally.had},
        "in all": {**tally.totals},
        "median": {**medians},
        "broken": [
            {"seed": told.seed, "violation": told.broken, "file": str(path)}
            for told, path in zip(tally.broken, kept, strict=True)
        ],
    }
    if session.json:
        output.print_json(facts)
        return
    title = f"{tally.histories} histories, seeds {seed} to {seed + tally.histories - 1}, in {seconds:.0f} s"
    columns = ("What happened", "Histories", "In all")
    output.console().print(output.table(title, columns, tally.rows(), right=("Histories", "In all")))
    what = ", ".join(f"{number} {name}" for name, number in medians.items())
    slowest = (
        "" if tally.slowest is None else f"; the slowest, seed {tally.slowest.seed}, {tally.slowest.seconds:.1f} s"
    )
    output.say(f"Median of a history: {what}{slowest}.", {})
    for told, path in zip(tally.broken, kept, strict=True):
        output.say(f"seed {told.seed}: {told.broken}\n  kept in {path}", {})
    output.say(f"{len(tally.broken)} broke a law." if tally.broken else "No law was broken.", {})
