"""What is to happen next, without a look at everything that is to happen."""

import random

from quorate.simulator.kernel import Kernel


def test_what_happens_next_is_the_soonest_that_is_neither_routine_nor_called_off() -> None:
    dice, kernel = random.Random(3), Kernel(1)
    assert kernel.next_at() == float("inf")
    for _ in range(50):
        timers = [
            kernel.at(kernel.now + dice.random() * 100, lambda: None, routine=dice.random() < 0.7) for _ in range(12)
        ]
        for timer in dice.sample(timers, 4):
            timer.cancel()
        left = [timer.at for *_, timer in kernel._heap if timer.act is not None and not timer.is_routine]
        assert kernel.next_at() == min(left, default=float("inf"))
        kernel.run(kernel.now + dice.random() * 20)
