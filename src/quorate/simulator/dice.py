"""Chance from a seed: the same numbers on every version of Python.

Only `random.Random.random` and its seeding by an integer are promised to stay as they are; everything else is made of
them here. Each purpose has a stream of its own, so that what one of them draws disturbs no other.
"""

import random
from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

T = TypeVar("T")


class Dice:
    """One stream of chance."""

    __slots__ = ("draw",)

    def __init__(self, seed: int, purpose: str = "") -> None:
        """Draw by this seed, for this purpose alone."""
        self.draw = random.Random((seed << 32) | crc32(purpose.encode())).random
        """Give a number from 0 up to, not including, 1."""

    def below(self, number: int) -> int:
        """Give a whole number from 0 up to, not including, this one."""
        return int(self.draw() * number)

    def between(self, low: float, high: float) -> float:
        """Give a number within bounds."""
        return low + (high - low) * self.draw()

    def chance(self, probability: float) -> bool:
        """Tell whether something of this probability happens."""
        return self.draw() < probability

    def choice(self, among: Sequence[T]) -> T:
        """Choose one of several."""
        return among[int(self.draw() * len(among))]

    def weighted(self, among: Sequence[tuple[T, float]]) -> T:
        """Choose one of several, each as likely as its weight says."""
        left = self.draw() * sum(weight for _, weight in among)
        for one, weight in among:
            left -= weight
            if left < 0:
                return one
        return among[-1][0]

    def some(self, among: Sequence[T], number: int) -> list[T]:
        """Choose so many different ones, in any order."""
        left = list(among)
        return [left.pop(int(self.draw() * len(left))) for _ in range(min(number, len(left)))]
