"""What the tests of resource types share with those of hosting."""

from tests.unit.hosting.conftest import answer_within

__all__ = ["answer_within"]
