"""The hands of the source's brain in a simulated world, as `engine/outgoing_session.py` is in production."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import GroupId, ImageId, NodeId, SessionId, VmId
from quorate.clusapi.machine import Step
from quorate.clusapi.states import MigrationState
from quorate.cluster.failover import GiverWord
from quorate.database.records import RunState
from quorate.engine.hosted import to_brain
from quorate.engine.journal import OutgoingNote
from quorate.engine.run_changes import run_after_source
from quorate.hypervisor import contract as hv
from quorate.migration import outgoing_events as e
from quorate.migration.convergence import Sample
from quorate.migration.outgoing import Outgoing, Phase
from quorate.migration.ownership import Cas, SendCas
from quorate.migration.recovery import Noted, OutgoingJournal
from quorate.simulator.brains import Hand
from quorate.simulator.holding import Held
from quorate.simulator.instance import Gone, Instance, let_run
from quorate.simulator.kernel import Timer
from quorate.simulator.network import Unreachable
from quorate.simulator.session import Session
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    pass

STOP_PATIENCE: Final = 1.5
"""Seconds that the destination's daemon has to answer once the guest stands still for it."""


SERVING: Final = (Phase.SERVING, Phase.RECONNECTING)
"""The guest runs at the destination, and pages of it are here only."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """What a destination is asked."""

    session: SessionId
    group: GroupId
    vm_id: VmId
    source: NodeId
    image: ImageId
    source_image: ImageId
    post_copy: bool = False


@dataclass(frozen=True, slots=True)
class OfSession:
    """A word about a session."""

    session: SessionId
    epoch: int = 0
    revision: int = 0
    sentence: str = ""
    uri: str = ""
    group: GroupId | None = None


@dataclass(frozen=True, slots=True)
class SessionAnswer:
    """What a daemon knows of a session."""

    known: bool
    is_preparing: bool = False
    uri: str = ""
    is_certain: bool = True


class OutgoingSession(Session[Outgoing, e.Event]):
    """One migration away from a node."""

    SIDE = "source"

    def __init__(
        self,
        held: Held,
        brain: Outgoing,
        prepare: Prepare | None,
        on_ended: Callable[["OutgoingSession"], Awaitable[None]],
        drained: str = "",
    ) -> None:
        """Carry a migration out; a recovered one has nothing to ask any more."""
        super().__init__(held.daemon, held.group, brain)
        self.held = held
        self.drained = drained
        self._prepare = prepare
        self._on_ended = on_ended
        self.on_serving: Callable[[OutgoingSession], None] = lambda session: None
        self._next_look: Timer | None = None
        self._forget: Callable[[], None] = lambda: None
        if held.instance is not None:
            self._forget = held.instance.subscribe(self._on_instance_event)
        held.is_moving_live = True

    def _step(self, event: e.Event, now: float) -> Step[Outgoing]:
        return self.brain.step(event, now)

    def _news_of_lapse(self) -> tuple[e.Event, ...]:
        return (e.LeaseLapsed("the lease of the source node ran out during the migration"),)

    def _tick(self) -> e.Event:
        return e.Tick()

    def _on_step(self, before: Outgoing, event: e.Event) -> None:
        """Write MigrationState where no write of ownership carries it."""
        if self.brain.phase in SERVING and before.phase not in SERVING:
            self.on_serving(self)
        state = self.brain.migration_state
        if state is MigrationState.DATA_TRANSFER and before.migration_state < state:
            change = self.held.migration_change(state, 0, "")
            self.daemon.life.spawn(self._tell(change), "the state of a migration")

    async def _tell(self, change: Callable[[RunState], RunState]) -> None:
        with suppress(ClusterError):  # people see it a little later
            await self.held.write(change)

    def _on_instance_event(self, event: hv.InstanceEvent) -> None:
        match event:
            case hv.MigrationChanged(status, sentence):
                self._on_transfer(status, sentence)
            case hv.PassStarted():
                self._look_now()
            case hv.Exited(_, sentence):
                self.post(e.SourceExited(sentence))
            case hv.Mute():
                self.post(e.SourceMute("the source's QEMU does not answer"))
            case hv.Speaking():
                self.post(e.SourceSpeaking())
            case hv.GuestShutdown():
                self.post(e.GuestNotRunning("the guest was shut down"))
            case _:
                pass

    def _on_transfer(self, status: hv.MigrationStatus, sentence: str) -> None:
        match status:
            case hv.MigrationStatus.COMPLETED:
                self.post(e.TransferCompleted())
            case hv.MigrationStatus.FAILED:
                self.post(e.TransferFailed(sentence or "QEMU says that the transfer failed"))
            case hv.MigrationStatus.CANCELLED:
                self.post(e.TransferCancelled("the transfer was cancelled"))
            case hv.MigrationStatus.PRE_SWITCHOVER if self.brain.post_copy:
                self.post(e.ReadyToSwitch())
            case hv.MigrationStatus.POSTCOPY:
                self.post(e.PagesFlow())
            case hv.MigrationStatus.POSTCOPY_PAUSED:
                self.post(e.PagesStopped("the connection that pages go over broke"))
            case _:
                pass

    # --- effects -----------------------------------------------------------------------------------------------------

    def _do(self, effect: object) -> None:
        spawn = self.life.spawn
        match effect:
            case e.WakeAfter(seconds):
                self._wake_after(seconds)
            case e.SampleAfter(seconds):
                self._sample_after(seconds)
            case e.NoteBegun():
                self._note(Noted.BEGUN, None)
            case e.NoteYours():
                self._note(Noted.YOURS, e.YoursNoted())
            case e.NoteTakeBack():
                self._note(Noted.TAKE_BACK, e.TakeBackNoted())
            case e.AskPrepare():
                spawn(self._ask_prepare())
            case e.StartTransfer(uri):
                spawn(self._start_transfer(uri))
            case e.Throttle(percent):
                spawn(self._throttle(percent))
            case e.CancelTransfer():
                spawn(self._cancel_transfer())
            case e.StopGuest(post_copy):
                spawn(self._stop_guest(post_copy=post_copy))
            case e.EnterPostCopy():
                spawn(self._quietly(lambda: self._instance().enter_postcopy()))
            case e.PausePages():
                spawn(self._quietly(lambda: self._instance().pause_postcopy()))
            case e.TellPagesPaused():
                spawn(self._quietly(lambda: self._say("pages paused")))
            case e.ResumePages(uri):
                spawn(self._quietly(lambda: self._resume_pages(uri)))
            case e.AskDestination():
                spawn(self._quietly(self._ask_for_use))
            case e.ResumeGuest():
                spawn(self._resume_guest(self._incarnation))
            case SendCas(cas):
                spawn(self._send_cas(cas))
            case e.SendYours(epoch, revision):
                spawn(self._say_yours(epoch, revision))
            case e.Abandon():
                self.daemon.life.spawn(self._abandon())
            case e.EndImage():
                spawn(self._end_image())
            case e.Tell(sentence):
                self.daemon.say(Kind.SAY, f"{self._name}: {sentence}")
            case e.Finish():
                self.daemon.life.spawn(self._finish(), "the end of a migration")
            case _:
                raise AssertionError(f"the source's brain asks for {effect!r}, which has no hand")

    def _note(self, noted: Noted, done: e.Event | None) -> None:
        machine, brain = self.daemon.machine, self.brain
        if machine.is_disk_full:
            self.post(e.NoteFailed("the disk is full"))
            return
        journal = OutgoingJournal(
            brain.session, brain.me, brain.destination, brain.image, brain.destination_image, noted
        )
        assert self.held.vm_id is not None, "what migrates is a virtual machine"
        if Hand.JOURNAL not in self.daemon.world.brains.weaknesses or noted is Noted.BEGUN:
            machine.outgoing_notes[self.group] = OutgoingNote(self.group, self.held.vm_id, journal)
        if done is not None:
            self.post(done)

    async def _ask_prepare(self) -> None:
        try:
            await self.daemon.call(self.brain.destination, "prepare", self._prepare, 2.0)
        except Unreachable:
            pass  # it may have heard it
        except ClusterError as error:
            self.post(e.PrepareRefused(error.sentence))
            return
        while self.brain.phase is Phase.PREPARING:
            await self.life.sleep(0.5)
            answer = await self._ask_destination(1.0)
            if answer.uri:
                self.post(e.Prepared(answer.uri))
            elif answer.is_preparing:
                self.post(e.DestinationAlive())

    async def _ask_destination(self, timeout: float) -> SessionAnswer:
        try:
            answer = await self.daemon.call(
                self.brain.destination, "session", OfSession(self.brain.session, group=self.group), timeout
            )
        except ClusterError:
            return SessionAnswer(known=False)
        assert isinstance(answer, SessionAnswer), "so it is answered"
        return answer

    async def _start_transfer(self, uri: str) -> None:
        try:
            post_copy = self._prepare is not None and self._prepare.post_copy
            await self._instance().migrate(self.daemon.world.listening(uri), post_copy=post_copy)
        except ClusterError as error:
            self.post(e.TransferFailed(error.sentence))

    def _sample_after(self, seconds: float) -> None:
        def look() -> None:
            if self._next_look is timer:
                self._sample()

        timer = self._next_look = self.life.later(seconds, look)

    def _look_now(self) -> None:
        """A pass begins: that is the moment to stop, or to go on."""
        if self._next_look is not None:
            self._sample()

    def _sample(self) -> None:
        """Look at the transfer: so often that a coroutine for each would cost too much."""
        held, self._next_look = self.held, None
        if held.instance is None or held.instance.is_gone:
            return  # `SourceExited` says so
        if held.instance.qemu.is_still:
            self.life.spawn(self._sample_slowly())
            return
        self._post_sample(held.instance.qemu.sample())

    async def _sample_slowly(self) -> None:
        try:
            seen = await self._instance().migration()
        except ClusterError as error:
            if self.brain.phase is Phase.TRANSFER:
                self.post(e.SourceMute(error.sentence))
            return
        self._post_sample(seen)

    def _post_sample(self, seen: hv.MigrationSample) -> None:
        sample = Sample(
            seen.total,
            seen.transferred,
            seen.remaining,
            seen.bytes_per_second,
            seen.dirty_bytes_per_second,
            seen.passes,
            seen.pass_seconds,
            seen.throttle,
        )
        self.post(e.Sampled(sample))

    async def _throttle(self, percent: int) -> None:
        with suppress(ClusterError):  # the next passes show it
            await self._instance().throttle(percent)

    async def _cancel_transfer(self) -> None:
        with suppress(ClusterError):
            await self._instance().migrate_cancel()
        try:
            seen = await self._instance().migration()
        except ClusterError:
            return
        if seen.status is hv.MigrationStatus.NONE:
            self.post(e.TransferCancelled("no transfer was under way"))
        else:
            self._on_transfer(seen.status, seen.sentence)

    async def _quietly(self, work: Callable[[], Awaitable[None]]) -> None:
        with suppress(ClusterError):  # the brain asks again
            await work()

    async def _say(self, kind: str) -> None:
        message = OfSession(self.brain.session, sentence="the source has given the connection up")
        await self.daemon.call(self.brain.destination, kind, message, 1.0)

    async def _resume_pages(self, uri: str) -> None:
        await self._instance().pause_postcopy()
        await self._instance().migrate_again(self.daemon.world.listening(uri))

    async def _ask_for_use(self) -> None:
        answer = await self.daemon.call(
            self.brain.destination, "session", OfSession(self.brain.session, group=self.group), 1.0
        )
        assert isinstance(answer, SessionAnswer), "so it is answered"
        if answer.known:
            self.post(e.DestinationAlive())
        elif answer.is_certain:
            self.post(e.DestinationFailed("the destination has nothing left of this session"))

    async def _stop_guest(self, *, post_copy: bool) -> None:
        """Stop the guest, and ask meanwhile whether the destination's daemon still works on it."""
        answer: list[SessionAnswer] = []

        async def ask() -> None:
            answer.append(await self._ask_destination(STOP_PATIENCE))

        asking = self.life.spawn(ask())
        try:
            if post_copy:
                await self._instance().begin_postcopy()
                if self.brain.phase is not Phase.STOPPING:
                    asking.cancel()
                    return
            await self._instance().stop()
        except ClusterError as error:
            asking.cancel()
            self.post(e.StopFailed(error.sentence))
            return
        await asking.over
        if not answer[0].known:
            self.post(e.DestinationFailed("the destination's daemon did not answer when the guest had been stopped"))
            return
        self.post(e.Stopped())

    async def _resume_guest(self, incarnation: str) -> None:
        try:
            await let_run(self.daemon, self._instance(), incarnation, patience=0.0)
        except ClusterError as error:
            self.post(e.ResumeFailed(error.sentence))
            return
        self.post(e.Resumed())

    async def _send_cas(self, cas: Cas) -> None:
        reason = self.brain.reason
        answer = await self.held.change_owner(cas, lambda run: run_after_source(run, cas.kind, reason, self.drained))
        self.post(answer)

    async def _say_yours(self, epoch: int, revision: int) -> None:
        message = OfSession(self.brain.session, epoch=epoch, revision=revision)
        with suppress(ClusterError):  # it is said again until the record is marked
            await self.daemon.call(self.brain.destination, "yours", message, 1.0)
        self._show_record()

    def _show_record(self) -> None:
        """Production shows every snapshot, and there is one each second: here what has not changed is shown no more."""
        ownership = self.daemon.view.snapshot.ownership.get(self.group)
        if ownership is not None:
            self.post(e.RecordSeen(to_brain(ownership)))

    async def _abandon(self) -> None:
        message = OfSession(self.brain.session, sentence=self.brain.reason or "the migration is over")
        for _ in range(20):
            try:
                await self.daemon.call(self.brain.destination, "abandon", message, 1.0)
                return
            except Unreachable:
                await self.daemon.life.sleep(0.5)
            except ClusterError:
                return

    async def _end_image(self) -> None:
        instance = self.held.instance
        if instance is not None:
            instance.kill()
            await instance.wait_gone()
        self.post(e.ImageEnded())

    async def _finish(self) -> None:
        self._forget()
        self.life.end()
        self.held.is_moving_live = False
        await self._on_ended(self)
        self.daemon.machine.outgoing_notes.pop(self.group, None)
        self.ended.set(None)

    def word_of_gift(self, epoch: int) -> GiverWord:
        """Say what became of the gift that the record of this epoch tells of (R8)."""
        phase = self.brain.phase
        if phase in (*SERVING, Phase.ENDING_IMAGE, Phase.ENDED) or self.brain.record.epoch > epoch:
            return GiverWord.WAIT
        return GiverWord.SENT if phase in (Phase.NOTING_YOURS, Phase.TELLING) else GiverWord.NOT_SENT

    def _instance(self) -> Instance:
        if self.held.instance is None:
            raise Gone("the source's QEMU is gone")
        return self.held.instance
