"""``quorate simulate --planted``: faults planted into the brains, and how soon random histories show them."""

import sys
import time
from pathlib import Path
from typing import Final

from quorate.cli import output
from quorate.cli.quiet import no_logs
from quorate.cli.session import session
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status
from quorate.simulator.planted.catalogue import PLANTED
from quorate.simulator.planted.fault import Planted
from quorate.simulator.planted.kept import keep
from quorate.simulator.planted.search import MOST, Found, find, shortened

ALL: Final = "all"


def play_planted(name: str, seed: int, directory: Path | None, shrink: float) -> int:
    """Search for one planted fault, or all of them; give the exit code: 3 if one was not found."""
    chosen = _chosen(name)
    with no_logs():
        return _play(chosen, seed, directory, shrink)


def _play(chosen: tuple[Planted, ...], seed: int, directory: Path | None, shrink: float) -> int:
    facts: list[JsonObject] = []
    missed = 0
    for planted in chosen:
        found = find(planted, seed, progress=_show_progress)
        if found is not None and shrink > 0:
            end = time.process_time() + shrink
            found = shortened(found, lambda: time.process_time() < end)  # noqa: B023
        path = None if found is None or directory is None else keep(found, directory)
        _say(planted, found, path)
        facts.append(_fact(planted, found, path))
        missed += found is None
    if session.json:
        output.print_json({"planted": [*facts], "seed": seed})
    else:
        what = "no planted fault was missed" if not missed else f"{missed} not found in {MOST} histories"
        output.say(f"{len(chosen)} planted, {what}", {})
    return output.EXIT_FAULT if missed else output.EXIT_SUCCESS


def _chosen(name: str) -> tuple[Planted, ...]:
    if name == ALL:
        return PLANTED
    chosen = tuple(planted for planted in PLANTED if planted.name == name or planted.rule == name)
    if not chosen:
        known = "; ".join(f"{planted.name} ({planted.rule})" for planted in PLANTED)
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            f"no planted fault, and no rule of one, is called {name!r}; there are: {known}",
        )
    return chosen


def _show_progress(tried: int) -> None:
    if sys.stderr.isatty() and not session.json:
        sys.stderr.write(f"\r{tried} histories \033[K")
        sys.stderr.flush()


def _say(planted: Planted, found: Found | None, path: Path | None) -> None:
    if session.json:
        return
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    if found is None:
        sys.stdout.write(f"{planted.rule:6}{planted.name}: NOT FOUND in {MOST} histories\n")
        return
    steps = len(found.scenario.steps)
    sys.stdout.write(f"{planted.rule:6}{planted.name}: history {found.tried}, {steps} steps: {found.violation}\n")
    if path is not None:
        sys.stdout.write(f"      kept in {path}\n")
    sys.stdout.flush()


def _fact(planted: Planted, found: Found | None, path: Path | None) -> JsonObject:
    fact: JsonObject = {"name": planted.name, "rule": planted.rule, "found": found is not None}
    if found is None:
        return fact
    return {
        **fact,
        "history": found.tried,
        "seed": found.seed,
        "steps": len(found.scenario.steps),
        "violation": str(found.violation),
        "file": None if path is None else str(path),
    }
