"""``quorate simulate``: scenario files, or random histories, in a virtual world with the brains of production."""

import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from quorate.cli import output
from quorate.cli.quiet import no_logs
from quorate.cli.session import session
from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status


def simulate(
    *files: Path,
    update: Annotated[bool, Parameter(negative="")] = False,
    story: Annotated[bool, Parameter(negative="")] = False,
    random: int | None = None,
    planted: str | None = None,
    seed: int = 1,
    jobs: int = 1,
    keep: Path = Path(),
    shrink: float = 60.0,
) -> int:
    """Play scenarios in a virtual world: machines, networks, databases and guests are simulated, decisions are not.

    A scenario is a text file: what there is, what happens to it, a line of dashes, and what comes out. What comes out
    otherwise is shown as a difference, and is exit code 3, as is a law that is broken.

    Parameters
    ----------
    files
        Scenario files, or directories with some.
    update
        Write down what comes out instead of comparing it; look at the difference before you keep it.
    story
        Print everything that happens.
    random
        Play so many random histories instead.
    planted
        Plant a fault into what decides, by its name or rule, or `all` of them, and see how soon histories show it.
    seed
        The first one's seed; the others' follow.
    jobs
        How many processes share the work.
    keep
        The directory for histories that break a law, each made as short as can be.
    shrink
        Seconds for making one short; 0 leaves it as it is.
    """
    if planted is not None:
        if files or update or story or random is not None:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, "--planted plays histories of its own, not files")
        from quorate.cli.commands.simulate_planted import play_planted

        return play_planted(planted, seed, keep if keep != Path() else None, shrink)
    if random is None and not files:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            "there is nothing to simulate; name scenario files, or say --random NUMBER for random histories",
        )
    if random is not None:
        if files or update or story:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, "--random plays histories of its own, not files")
        from quorate.cli.commands.simulate_random import play_random

        return play_random(random, seed, jobs, keep, shrink)
    with no_logs():
        return _play_files(_found(files), update=update, story=story)


def _found(places: tuple[Path, ...]) -> list[Path]:
    files: list[Path] = []
    for place in places:
        if place.is_dir():
            files += sorted(place.rglob("*.txt"))
        elif place.is_file():
            files.append(place)
        else:
            raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"there is no file {str(place)!r}")
    if not files:
        raise CallerError(Status.ERROR_FILE_NOT_FOUND, "no file there is named *.txt, as scenarios are")
    return files


def _play_files(files: list[Path], *, update: bool, story: bool) -> int:
    facts: list[JsonObject] = []
    wrong = 0
    begun = time.monotonic()
    for path in files:
        fact = _play_file(path, update=update, story=story)
        facts.append(fact)
        wrong += fact["outcome"] in ("broken", "different")
    seconds = time.monotonic() - begun
    if session.json:
        output.print_json({"scenarios": [*facts], "seconds": round(seconds, 3)})
    else:
        right = f"{len(files)} scenario{'s' if len(files) > 1 else ''} in {seconds:.1f} s"
        output.say(f"{right}, {f'{wrong} not as expected' if wrong else 'all as expected'}", {})
    return output.EXIT_FAULT if wrong else output.EXIT_SUCCESS


def _play_file(path: Path, *, update: bool, story: bool) -> JsonObject:
    from quorate.simulator import playing
    from quorate.simulator.scenario_text import parse, with_expected

    text = _read(path)
    scenario = parse(text, str(path))
    if story:
        sys.stdout.write("\n".join((f"{path}: {scenario.title}", *playing.story(scenario))) + "\n")
    played = playing.play(scenario)
    violation = played.run.violation
    fact: JsonObject = {"file": str(path), "title": scenario.title, "events": played.run.events}
    if violation is not None:
        _say(f"{path}: a law is broken: {violation}")
        return {**fact, "outcome": "broken", "violation": str(violation)}
    if played.is_as_expected:
        return {**fact, "outcome": "as expected"}
    if update:
        path.write_text(with_expected(text, played.found), encoding="utf-8")
        _say(f"{path}: written anew")
        return {**fact, "outcome": "written"}
    difference = _difference(path, scenario.expected, played.found)
    _say("\n".join(difference))
    return {**fact, "outcome": "different", "difference": [*difference]}


def _difference(path: Path, expected: tuple[str, ...], found: tuple[str, ...]) -> list[str]:
    from difflib import unified_diff

    return list(unified_diff(expected, found, f"{path}, expected", f"{path}, found", lineterm=""))


def _say(words: str) -> None:
    if not session.json:
        sys.stdout.write(words + "\n")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CallerError(Status.ERROR_INVALID_DATA, f"{path} is no text in UTF-8") from error
    except OSError as error:
        raise FaultError(Status.ERROR_IO_DEVICE, f"{path} cannot be read: {error.strerror or error}") from error
