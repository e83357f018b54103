"""How far a migration has come, in percent."""

import pytest

from quorate.engine.outgoing_news import percent_across
from quorate.migration.convergence import Sample


@pytest.mark.parametrize(
    ("total", "remaining", "passes", "percent"),
    [
        (0, 0, 0, 0),  # connected at most: QEMU has no figures yet
        (1000, 1000, 1, 0),
        (1000, 500, 1, 47),
        (1000, 0, 1, 94),
        (1000, 900, 2, 95),
        (1000, 0, 7, 95),
    ],
)
def test_the_first_pass_is_counted_and_later_ones_are_not(
    total: int, remaining: int, passes: int, percent: int
) -> None:
    sample = Sample(total, total - remaining, remaining, 1e6, 0.0, passes)
    assert percent_across(sample) == percent
