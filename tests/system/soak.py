"""Long repetitions: rounds with printed seeds, and notes of those that are done, so that a second call goes on.

``QUORATE_SOAK=1`` asks for them. The notes are in build/soak; when every round is done the next call begins anew, with
another seed. ``QUORATE_SOAK_SEED`` names the seed instead.
"""

import json
import os
import random
import secrets
from pathlib import Path
from typing import Final

_NOTES: Final = Path(__file__).resolve().parents[2] / "build" / "soak"


def soaking() -> bool:
    """Answer whether the long repetitions are asked for."""
    return os.environ.get("QUORATE_SOAK", "") not in ("", "0")


class Rounds:
    """The rounds of one soak test."""

    def __init__(self, name: str, count: int) -> None:
        self.count = count
        self.path = _NOTES / f"{name}.jsonl"
        notes = self._read()
        given = os.environ.get("QUORATE_SOAK_SEED")
        started = int(notes[0]["seed"]) if notes else None
        self._done = {int(note["round"]) for note in notes[1:]}
        if started is None or len(self._done) >= count or (given is not None and int(given) != started):
            started, self._done = int(given) if given is not None else secrets.randbits(32), set()
        self._seed = started

    def seed(self, number: int) -> int:
        """The seed of a round."""
        return self._seed + number

    def random(self, number: int) -> random.Random:
        """The chances of a round: the same for the same seed."""
        return random.Random(self.seed(number))

    def is_done(self, number: int) -> bool:
        """Answer whether an earlier call came through this round."""
        return number in self._done

    def note_done(self, number: int, **facts: int) -> None:
        """Note that a round is through."""
        lines = [json.dumps({"seed": self._seed})] if not self._done else self.path.read_text().splitlines()
        self._done.add(number)
        lines.append(json.dumps({"round": number, "seed": self.seed(number), **facts}))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n".join(lines) + "\n")

    def _read(self) -> list[dict[str, int]]:
        try:
            return [json.loads(line) for line in self.path.read_text().splitlines()]
        except FileNotFoundError:
            return []


__all__ = ["Rounds", "soaking"]
