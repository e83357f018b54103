"""Post-copy as the contract has it: fake and QEMU obey alike.

Until `enter_postcopy` the source can take everything back, from there on it never runs the guest again; a connection
that is given up leaves both sides with what they have, and a new one lets them go on.
"""

import asyncio
from collections.abc import Iterator

import pytest
from tests.contract.test_hypervisor import (
    DRIVERS,
    Bench,
    Scenario,
    beats,
    converge,
    driver,
    root,
    run,
    seen,
    wait_beats,
    wait_for,
    wait_status,
)

from quorate.clusapi.errors import FaultError
from quorate.hypervisor.builtin_guest import PAGE
from quorate.hypervisor.contract import (
    Instance,
    MigrationChanged,
    MigrationParameters,
    MigrationStatus,
    RunState,
)
from quorate.hypervisor.definition import BuiltinGuest
from quorate.hypervisor.qemu.user_faults import why_no_postcopy

__all__ = ["DRIVERS", "driver", "root", "run"]

GUEST = BuiltinGuest(beat_hz=200, dirty_bytes=16 << 20, dirty_bytes_per_second=200 << 20, fill_bytes=24 << 20)
SLOW = MigrationParameters(max_bandwidth=16 << 20, post_copy=True)


@pytest.fixture(autouse=True)
def can_fault(driver: str) -> Iterator[None]:
    if driver == "qemu" and (reason := why_no_postcopy(None)):
        pytest.skip(reason)
    yield


async def switch(bench: Bench) -> tuple[Instance, Instance]:
    """A guest that runs at the destination while most of its memory is still at the source."""
    source, destination, _ = await stand_before(bench)
    await source.enter_postcopy()
    await wait_for(lambda: MigrationChanged(MigrationStatus.POSTCOPY) in bench.events["b"])
    assert await destination.run_state() is RunState.PAUSED
    await destination.cont()
    return source, destination


async def stand_before(bench: Bench) -> tuple[Instance, Instance, str]:
    source, destination, uri = await bench.pair(GUEST, SLOW)
    await wait_beats(bench.log("a"), 20)
    await source.migrate(uri, SLOW)
    await wait_status(source, MigrationStatus.ACTIVE)
    await source.begin_postcopy()
    await source.stop()
    await wait_status(source, MigrationStatus.PRE_SWITCHOVER)
    return source, destination, uri


def test_a_guest_that_never_converges_goes_on_at_the_destination(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, destination = await switch(bench)
        await wait_beats(bench.log("b"))
        with pytest.raises(FaultError):
            await source.cont()
        with pytest.raises(FaultError):
            await source.migrate_cancel()
        await wait_status(source, MigrationStatus.COMPLETED)
        await wait_status(destination, MigrationStatus.COMPLETED)
        await wait_beats(bench.log("b"), 20)
        report = seen(bench, "a", "b")
        assert report.continuous and not report.other, report

    run(body)


def test_until_the_word_to_switch_it_can_be_cancelled_and_goes_on(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, _, _ = await stand_before(bench)
        await source.migrate_cancel()
        await wait_status(source, MigrationStatus.CANCELLED, MigrationStatus.FAILED)
        await source.cont()
        await wait_beats(bench.log("a"), 20)
        assert seen(bench, "a").continuous

    run(body)


def test_a_connection_that_was_given_up_is_replaced(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, destination = await switch(bench)
        await source.pause_postcopy()
        await destination.pause_postcopy()
        await wait_status(source, MigrationStatus.POSTCOPY_PAUSED)
        await wait_for(lambda: MigrationChanged(MigrationStatus.POSTCOPY_PAUSED) in bench.events["b"])
        await destination.pause_postcopy()
        with pytest.raises(FaultError):
            await source.cont()
        stood_at = beats(bench.log("b"))
        await asyncio.sleep(0.5)
        assert beats(bench.log("b")) <= stood_at + 20, "the guest should soon miss a page"
        await destination.listen_again(SLOW)
        await source.migrate_again(await destination.listen_again(SLOW))
        await wait_status(source, MigrationStatus.COMPLETED)
        await wait_status(destination, MigrationStatus.COMPLETED)
        await wait_beats(bench.log("b"), 20)
        report = seen(bench, "a", "b")
        assert report.continuous and not report.other, report

    run(body)


def test_nobody_there_leaves_it_paused(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, destination = await switch(bench)
        await source.pause_postcopy()
        await wait_status(source, MigrationStatus.POSTCOPY_PAUSED)
        await source.migrate_again(f"unix:{bench.root}/nobody")
        await asyncio.sleep(0.05)
        assert (await source.migration()).status is MigrationStatus.POSTCOPY_PAUSED
        assert not destination.is_gone

    run(body)


@pytest.mark.parametrize("dead", ["a", "b"])
def test_the_end_of_one_side_leaves_the_other_paused(run: Scenario, dead: str) -> None:
    async def body(bench: Bench) -> None:
        sides = dict(zip("ab", await switch(bench), strict=True))
        sides.pop(dead).kill()
        ((name, left),) = sides.items()
        await wait_for(lambda: MigrationChanged(MigrationStatus.POSTCOPY_PAUSED) in bench.events[name])
        assert not left.is_gone

    run(body)


def test_a_daemon_that_comes_back_does_not_let_the_switch_happen(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, _, _ = await stand_before(bench)
        await source.release()
        adopted = await bench.hypervisors["a"].adopt(bench.vm_id, bench.paths["a"])
        assert adopted is not None
        bench.keep("a", adopted)
        await asyncio.sleep(0.1)
        assert (await adopted.migration()).status is MigrationStatus.PRE_SWITCHOVER
        await adopted.migrate_cancel()
        await wait_status(adopted, MigrationStatus.CANCELLED, MigrationStatus.FAILED)
        await adopted.cont()
        await wait_beats(bench.log("a"), 20)

    run(body)


def test_a_daemon_that_comes_back_before_it_waits_does_not_let_the_switch_happen_either(
    run: Scenario, driver: str
) -> None:
    """QEMU does not say whether it was told to switch: it may have been, by a daemon that died at just that moment."""
    if driver == "fake":
        pytest.skip("a fake machine needs no word to finish, and remembers what it was told")

    async def body(bench: Bench) -> None:
        source, _, uri = await bench.pair(GUEST, SLOW)
        await wait_beats(bench.log("a"), 20)
        await source.migrate(uri, SLOW)
        await wait_status(source, MigrationStatus.ACTIVE)
        await source.stop()
        assert (await source.migration()).status is MigrationStatus.ACTIVE
        await source.release()
        adopted = await bench.hypervisors["a"].adopt(bench.vm_id, bench.paths["a"])
        assert adopted is not None
        bench.keep("a", adopted)
        await wait_status(adopted, MigrationStatus.PRE_SWITCHOVER, MigrationStatus.COMPLETED)
        await asyncio.sleep(0.1)
        assert (await adopted.migration()).status is MigrationStatus.PRE_SWITCHOVER
        await adopted.migrate_cancel()
        await wait_status(adopted, MigrationStatus.CANCELLED, MigrationStatus.FAILED)
        await adopted.cont()
        await wait_beats(bench.log("a"), 20)

    run(body)


def test_what_may_switch_may_also_finish_as_ever(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        parameters = MigrationParameters(post_copy=True)
        guest = BuiltinGuest(beat_hz=200, dirty_bytes=PAGE, fill_bytes=1 << 20)
        source, destination, uri = await bench.pair(guest, parameters)
        await wait_beats(bench.log("a"))
        await source.migrate(uri, parameters)
        await converge(source)
        await source.stop()
        await wait_status(source, MigrationStatus.COMPLETED)
        await wait_status(destination, MigrationStatus.COMPLETED)
        await destination.cont()
        await wait_beats(bench.log("b"), 20)
        assert seen(bench, "a", "b").continuous

    run(body)
