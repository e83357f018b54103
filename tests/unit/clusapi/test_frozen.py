"""`replace` gives what `dataclasses.replace` gives, and refuses what that refuses."""

import dataclasses
from dataclasses import dataclass, field

import pytest

from quorate.clusapi.frozen import replace
from quorate.cluster.lease import Holder, Phase


@dataclass(frozen=True, slots=True)
class Careful:
    """It refuses what it may not be made of."""

    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError(self.number)


@dataclass(frozen=True)
class WithoutSlots:
    """Its fields lie in a dictionary."""

    number: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """One field is made, not given."""

    number: int
    twice: int = field(init=False, default=2)


class Planted(Holder):
    """A brain with another step, and nothing else."""


@pytest.mark.parametrize("kind", [Holder, Planted])
def test_a_brain_is_changed_and_the_one_before_stays(kind: type[Holder]) -> None:
    before = kind("d1", over=3.0)
    after = replace(before, phase=Phase.KNOWN, sequence=7)
    assert after == dataclasses.replace(before, phase=Phase.KNOWN, sequence=7)
    assert type(after) is kind
    assert (before.phase, before.sequence) == (Phase.UNREAD, 0)
    assert replace(before) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        after.sequence = 8  # type: ignore[misc]


def test_what_is_no_field_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        replace(Holder("d1"), colour="red")  # type: ignore[call-arg]


def test_whoever_looks_at_what_he_is_made_of_does_so() -> None:
    assert replace(Careful(1), number=2) == Careful(2)
    with pytest.raises(ValueError, match="-1"):
        replace(Careful(1), number=-1)


def test_classes_without_slots_and_fields_that_are_not_given() -> None:
    assert replace(WithoutSlots(1, ("a",)), number=2) == WithoutSlots(2, ("a",))
    assert replace(Counted(1), number=5) == Counted(5)
    with pytest.raises(ValueError, match="twice"):
        replace(Counted(1), twice=5)
