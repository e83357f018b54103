from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from quorate.hypervisor.contract import Exited, GuestReset, InstanceEvent
from quorate.hypervisor.subscribers import Subscribers

END = Exited(0, "it ended")


def run(body: Callable[[Subscribers], Awaitable[None]]) -> None:
    async def main() -> None:
        await body(Subscribers())

    asyncio.run(main())


def test_one_that_raises_is_named_in_the_log_and_the_others_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[InstanceEvent] = []

    def clumsy(event: InstanceEvent) -> None:
        raise ValueError("no")

    async def body(subscribers: Subscribers) -> None:
        subscribers.add(clumsy)
        subscribers.add(heard.append)
        subscribers.publish(GuestReset())
        subscribers.publish(END)

    run(body)
    assert heard == [GuestReset(), END]
    assert "clumsy" in capsys.readouterr().out


def test_who_comes_after_the_end_hears_of_it_once_and_not_at_once() -> None:
    heard: list[InstanceEvent] = []

    async def body(subscribers: Subscribers) -> None:
        subscribers.publish(GuestReset())
        subscribers.publish(END)
        subscribers.add(heard.append)
        assert heard == []
        await asyncio.sleep(0)
        subscribers.add(lambda event: None)
        await asyncio.sleep(0)

    run(body)
    assert heard == [END]


def test_who_comes_while_the_end_is_told_hears_of_it_once() -> None:
    heard: list[InstanceEvent] = []

    async def body(subscribers: Subscribers) -> None:
        def late(event: InstanceEvent) -> None:
            subscribers.add(heard.append)

        subscribers.add(late)
        subscribers.publish(END)
        await asyncio.sleep(0)

    run(body)
    assert heard == [END]


def test_who_has_left_hears_nothing() -> None:
    heard: list[InstanceEvent] = []

    async def body(subscribers: Subscribers) -> None:
        leave: list[Callable[[], None]] = []
        subscribers.add(lambda event: leave[0]())  # while the same event is being told
        leave.append(subscribers.add(heard.append))
        subscribers.publish(GuestReset())
        leave[0]()
        subscribers.publish(END)
        subscribers.add(heard.append)()
        subscribers.add(heard.append)
        subscribers.clear()
        subscribers.add(heard.append)
        await asyncio.sleep(0)

    run(body)
    assert heard == []
