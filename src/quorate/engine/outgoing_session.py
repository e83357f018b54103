"""Carries out what the source's brain decides: commands to QEMU, writes of ownership, words to the destination."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace

import structlog

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.machine import Step
from quorate.cluster.failover import GiverWord
from quorate.database.records import RunState
from quorate.engine.fault_points import Point
from quorate.engine.hosted import HostedVm
from quorate.engine.journal import OutgoingNote
from quorate.engine.outgoing_news import OutgoingNews
from quorate.engine.run_changes import run_after_source
from quorate.engine.session import GUEST_RESUMED, GUEST_STOPPED, HAND_OVER_ANSWERED, HAND_OVER_SENT, Session
from quorate.engine.vcpus import ended_by_itself, let_run
from quorate.hypervisor import contract as hv
from quorate.migration import outgoing_events as e
from quorate.migration.convergence import Sample
from quorate.migration.outgoing import Outgoing, Phase
from quorate.migration.ownership import Cas, CasKind, SendCas
from quorate.migration.recovery import Noted, OutgoingJournal
from quorate.migration.transport import Transport
from quorate.peers.client import PeerUnreachable
from quorate.peers.messages import OfSession, Prepare, SessionAnswer

STOP_PATIENCE = 1.5
"""Seconds that the destination's daemon has to answer once the guest stands still for it; below SILENCE_LIMIT."""
CANCEL_PATIENCE = 10.0
"""Seconds after which a QEMU that still says "cancelling" is waited for no longer. One whose channels break while they
are being set up may say so for as long as it lives (10.0 does); it completes no more, and so stops no guest."""

SERVING = (Phase.SERVING, Phase.RECONNECTING)
"""The guest runs at the destination, and pages of it are here only."""

_log = structlog.get_logger("migration")


async def _nothing(session: "OutgoingSession") -> None:
    """Nobody wants to know."""


def _unheard(vm: HostedVm, instance: hv.Instance, event: hv.InstanceEvent) -> None:
    """Nobody wants to know: what has ended is ended."""
    instance.kill()


class OutgoingSession(Session[Outgoing, e.Event]):
    """One migration away from this node."""

    SIDE = "migration"

    def __init__(
        self,
        vm: HostedVm,
        brain: Outgoing,
        prepare: Prepare | None,
        parameters: hv.MigrationParameters,
        on_ended: Callable[["OutgoingSession"], Awaitable[None]],
        drained: str = "",
        transport: Transport | None = None,
    ) -> None:
        """Carry a migration out; ``on_ended`` is awaited once, when the brain has nothing more to do.

        ``prepare`` is what the destination is asked; a recovered session is past that and has none. ``drained`` is the
        drain that it belongs to, by id; ``transport`` how memory is sent, None where an earlier daemon chose it.
        """
        super().__init__(vm.context, vm.name, brain)
        self.vm = vm
        self._prepare = prepare
        self._parameters = parameters
        self._on_ended = on_ended
        self._drained = drained
        self.transport = transport
        self._copying_since = self._context.now()
        self._news = OutgoingNews(vm, self._copying_since)
        self._new_pass = asyncio.Event()
        self._may_have_ended = prepare is None
        """Whether the guest may have, while no daemon was there."""
        self.on_serving: Callable[[OutgoingSession], Coroutine[object, object, None]] = _nothing
        """Awaited when the guest runs at the destination while its pages are still being sent."""
        self.on_guest_ended: Callable[[HostedVm, hv.Instance, hv.InstanceEvent], None] = _unheard
        """Called when the guest, which is to be resumed, has ended by itself while no daemon was there."""
        self._unsubscribe: Callable[[], None] = lambda: None
        if vm.instance is not None:
            self._unsubscribe = vm.instance.subscribe(self._on_instance_event)

    @property
    def mode(self) -> str:
        """How memory is copied, for people."""
        copied = "pre-copy" if self.transport is None else f"pre-copy, {self.transport.describe()}"
        return f"{copied}, then post-copy" if self.brain.post_copy else copied

    # --- events in, steps taken ------------------------------------------------------------------------------------

    def carry_on(self, effects: tuple[object, ...]) -> None:
        """Begin: with nothing but to be shown, or with the effects of a recovery."""
        self._news.show(self.brain)
        super().carry_on(effects)
        if self.brain.phase in SERVING:
            self._spawn_outliving(self.on_serving(self))

    def _step(self, event: e.Event, now: float) -> Step[Outgoing]:
        return self.brain.step(event, now)

    def _news_of_lapse(self) -> tuple[e.Event, ...]:
        return (e.LeaseLapsed("the lease of the source node ran out during the migration"),)

    def _tick(self) -> e.Event:
        return e.Tick()

    def _on_step(self, before: Outgoing, event: e.Event) -> None:
        self._news.publish(before, self.brain, self._spawn_outliving)
        if isinstance(event, e.Sampled):
            self._news.show_sample(self.brain, event.sample)
        elif self.brain.phase is not before.phase:
            self._news.show(self.brain)
        if self.brain.phase in SERVING and before.phase not in SERVING:
            self._spawn_outliving(self.on_serving(self))

    def _on_instance_event(self, event: hv.InstanceEvent) -> None:
        match event:
            case hv.MigrationChanged(status, sentence):
                self._on_transfer(status, sentence)
            case hv.PassStarted(number) if number > 1:
                self._new_pass.set()
            case hv.Exited(_, sentence):
                self.post(e.SourceExited(sentence))
            case hv.Mute():
                self.post(e.SourceMute("the source's QEMU does not answer"))
            case hv.Speaking():
                self.post(e.SourceSpeaking())
            case hv.GuestShutdown():
                self.post(e.GuestNotRunning("the guest was shut down"))
            case hv.GuestPanicked():
                self.post(e.GuestNotRunning("the guest has crashed"))
            case _:
                pass

    def _on_transfer(self, status: hv.MigrationStatus, sentence: str) -> None:
        match status:
            case hv.MigrationStatus.COMPLETED:
                self._faults.then(Point.COMPLETED, lambda: self.post(e.TransferCompleted()), self._spawn)
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

    # --- effects ---------------------------------------------------------------------------------------------------

    def _do(self, effect: object) -> None:
        match effect:
            case e.NoteBegun():
                self._note(Noted.BEGUN, None)
            case e.NoteYours():
                self._faults.then(Point.GIVEN, self._note_yours, self._spawn)
            case e.NoteTakeBack():
                self._note(Noted.TAKE_BACK, e.TakeBackNoted())
            case e.AskPrepare():
                self._spawn(self._ask_prepare())
            case e.StartTransfer(uri):
                self._spawn(self._start_transfer(uri))
            case e.SampleAfter(seconds):
                self._spawn(self._sample(seconds))
            case e.Throttle(percent):
                self._spawn(self._throttle(percent))
            case e.CancelTransfer():
                self._spawn(self._cancel_transfer())
            case e.StopGuest(post_copy):
                self._spawn(self._stop_guest(post_copy=post_copy))
            case e.EnterPostCopy():
                self._spawn(self._enter_post_copy())
            case e.PausePages():
                self._spawn(self._pause_pages())
            case e.TellPagesPaused():
                self._spawn(self._tell_pages_paused())
            case e.ResumePages(uri):
                self._spawn(self._resume_pages(uri))
            case e.AskDestination():
                self._spawn(self._ask_for_use())
            case e.ResumeGuest():
                self._spawn(self._resume_guest(self._incarnation))
            case SendCas(cas):
                self._spawn(self._send_cas(cas))
            case e.SendYours(epoch, revision):
                self._spawn(self._say_yours(epoch, revision))
            case e.Abandon():
                self._spawn_outliving(self._abandon())
            case e.EndImage():
                self._spawn(self._end_image())
            case e.WakeAfter(seconds):
                self._wake_after(seconds)
            case e.Tell(sentence):
                _log.warning("migration", vm=self.vm.name, sentence=sentence)
                self._news.show(self.brain, sentence)
            case e.Finish():
                self._spawn_outliving(self._finish())
            case _:
                raise AssertionError(f"the source's brain asks for {effect!r}, which has no hand")

    def _note(self, noted: Noted, answer: e.Event | None) -> None:
        brain = self.brain
        journal = OutgoingJournal(
            brain.session, brain.me, brain.destination, brain.image, brain.destination_image, noted
        )
        try:
            self._context.journals.write_outgoing(OutgoingNote(self.vm.group, self.vm.vm_id, journal))
        except FaultError as error:
            self.post(e.NoteFailed(error.sentence))
            return
        if answer is not None:
            self.post(answer)

    def _note_yours(self) -> None:
        if self.brain.phase is Phase.NOTING_YOURS:  # who is held here may find that the brain has gone elsewhere
            self._note(Noted.YOURS, e.YoursNoted())

    async def _ask_prepare(self) -> None:
        assert self._prepare is not None, "a recovered session is past preparing"
        try:
            await self._context.peers.call(self.brain.destination, "prepare", self._prepare.to_json(), timeout=2.0)
        except ClusterError as error:
            self.post(e.PrepareRefused(error.sentence))
            return
        while self.brain.phase is Phase.PREPARING:
            await asyncio.sleep(0.5)
            answer = await self._ask_destination(1.0)
            if answer.is_ready:
                self.post(e.Prepared(answer.uri))  # its own word was lost
            elif answer.is_preparing:
                self.post(e.DestinationAlive())

    async def _ask_destination(self, timeout: float) -> SessionAnswer:
        """Ask what the destination knows of this session; one that does not answer knows nothing."""
        message = OfSession(self.brain.session, group=self.vm.group)
        try:
            answer = await self._context.peers.call(
                self.brain.destination, "session", message.to_json(), timeout=timeout
            )
        except ClusterError as error:
            _log.debug("the destination did not answer", vm=self.vm.name, sentence=error.sentence)
            return SessionAnswer(known=False)
        return SessionAnswer.from_json(answer)

    async def _start_transfer(self, uri: str) -> None:
        self._copying_since = self._context.now()
        try:
            await self._instance().migrate(uri, self._parameters)
        except ClusterError as error:
            self.post(e.TransferFailed(error.sentence))

    async def _sample(self, seconds: float) -> None:
        """Look at the transfer after so long, or as soon as a pass begins: that is the moment to stop, or to go on.

        A QEMU with nothing left looks for dirty pages ten times a millisecond until it is told to stop.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._new_pass.wait()
        self._new_pass.clear()
        if self.brain.phase is Phase.TRANSFER:
            await self._faults.reach(Point.PRE_COPY)
        try:
            seen = await self._instance().migration()
        except ClusterError as error:
            _log.debug("no figures of the transfer", vm=self.vm.name, sentence=error.sentence)
            if self.brain.phase is Phase.TRANSFER:
                self.post(e.SourceMute(error.sentence))
            return
        rate = seen.bytes_per_second
        if rate <= 0:
            # QEMU reckons its rate every 100 ms; a small guest is across before that.
            rate = seen.transferred / max(0.001, self._context.now() - self._copying_since)
        self.post(
            e.Sampled(
                Sample(
                    total=seen.total,
                    transferred=seen.transferred,
                    remaining=seen.remaining,
                    bytes_per_second=rate,
                    dirty_bytes_per_second=seen.dirty_bytes_per_second,
                    passes=seen.passes,
                    pass_seconds=seen.pass_seconds,
                    throttle=seen.throttle,
                )
            )
        )

    async def _throttle(self, percent: int) -> None:
        """Hold the processors back; where that cannot be, the next passes show it and the brain does without."""
        sentence = f"the guest's processors are held back by {percent} %: it dirties more memory than gets across"
        _log.info("migration", vm=self.vm.name, sentence=sentence)
        self._news.show(self.brain, sentence)
        try:
            await self._instance().throttle(percent)
        except ClusterError as error:
            _log.warning("the guest could not be held back", vm=self.vm.name, sentence=error.sentence)

    async def _cancel_transfer(self) -> None:
        try:
            await self._instance().migrate_cancel()
        except ClusterError as error:
            _log.warning("the transfer could not be cancelled", vm=self.vm.name, sentence=error.sentence)
        try:  # one that refused may have switched to post-copy, and nobody has heard it
            seen = await self._instance().migration()
        except ClusterError:
            return
        if seen.status is hv.MigrationStatus.NONE:
            self.post(e.TransferCancelled("no transfer was under way"))
        elif seen.status is hv.MigrationStatus.CANCELLING and self._has_waited_for_cancel():
            sentence = "QEMU does not come to an end with cancelling: it can send nothing until it is started anew"
            _log.warning("migration", vm=self.vm.name, sentence=sentence)
            self.post(e.TransferCancelled(sentence))
        else:
            self._on_transfer(seen.status, seen.sentence)

    def _has_waited_for_cancel(self) -> bool:
        return self.brain.phase is Phase.CANCELLING and self._context.now() - self.brain.since >= CANCEL_PATIENCE

    async def _stop_guest(self, *, post_copy: bool) -> None:
        """Stop the guest, and ask meanwhile: it shall not stand still for a destination whose daemon says nothing."""
        self.moments[GUEST_STOPPED] = self._context.now()
        asking = asyncio.ensure_future(self._ask_destination(STOP_PATIENCE))
        try:
            if post_copy:  # told before the stop, it cannot come to its end as a pre-copy in between
                await self._instance().begin_postcopy()
                if self.brain.phase is not Phase.STOPPING:
                    asking.cancel()
                    return  # given up meanwhile: a stop would come after the `cont` that has ended it
            await self._instance().stop()
        except ClusterError as error:
            asking.cancel()
            self.post(e.StopFailed(error.sentence))
            return
        if not (await asking).known:
            self.post(e.DestinationFailed("the destination's daemon did not answer when the guest had been stopped"))
            return
        await self._faults.reach(Point.STOPPED)
        self.post(e.Stopped())

    async def _enter_post_copy(self) -> None:
        try:
            await self._instance().enter_postcopy()
        except ClusterError as error:
            _log.warning("the switch to post-copy was not made", vm=self.vm.name, sentence=error.sentence)

    async def _pause_pages(self) -> None:
        try:
            await self._instance().pause_postcopy()
        except ClusterError as error:
            _log.warning("the connection was not given up", vm=self.vm.name, sentence=error.sentence)

    async def _resume_pages(self, uri: str) -> None:
        try:
            await self._instance().pause_postcopy()
            await self._instance().migrate_again(uri)
        except ClusterError as error:
            _log.warning("pages do not go on yet", vm=self.vm.name, sentence=error.sentence)

    async def _tell_pages_paused(self) -> None:
        message = OfSession(self.brain.session, sentence="the source has given the connection up")
        with suppress(ClusterError):  # it is said again
            await self._context.peers.call(self.brain.destination, "pages paused", message.to_json(), timeout=1.0)

    async def _ask_for_use(self) -> None:
        """Ask whether the destination still has anything that misses pages: only a sure answer counts."""
        message = OfSession(self.brain.session, group=self.vm.group)
        try:
            said = await self._context.peers.call(self.brain.destination, "session", message.to_json(), timeout=1.0)
        except ClusterError:
            return
        answer = SessionAnswer.from_json(said)
        if answer.known:
            self.post(e.DestinationAlive())
        elif answer.is_certain:
            self.post(e.DestinationFailed("the destination has nothing left of this session"))

    async def _resume_guest(self, incarnation: str) -> None:
        try:
            instance = self._instance()
            ended = await ended_by_itself(instance) if self._may_have_ended else None
            if ended is not None:
                self.on_guest_ended(self.vm, instance, ended)  # who ends its QEMU, which we are told
                return
            await let_run(self._context, instance, self.name, "the end of the migration", incarnation, patience=0.0)
        except ClusterError as error:
            self._may_have_ended = True
            self.post(e.ResumeFailed(error.sentence))
            return
        self.moments[GUEST_RESUMED] = self._context.now()
        self.post(e.Resumed())

    async def _send_cas(self, cas: Cas) -> None:
        answer = await self.vm.change_owner(cas, self._run_with(cas.kind))
        self.moments[f"{cas.kind.value} answered"] = self._context.now()
        if cas.kind is CasKind.GIVE:
            await self._faults.reach(Point.CAS_SENT)
        self.post(answer)

    def _run_with(self, kind: CasKind) -> Callable[[RunState], RunState]:
        """The run state that goes with a write of ownership: a hand-over, or a migration that has failed."""
        reason, drained, measured = self.brain.reason, self._drained, self.vm.progress

        def change(run: RunState) -> RunState:
            after = run_after_source(run, kind, reason, drained)
            if after.vm is None or measured.passes <= 1:  # the dirty rate is known from the second on
                return after
            rates = replace(after.vm, last_rate=round(measured.rate), last_dirty_rate=round(measured.dirty_rate))
            return replace(after, vm=rates)

        return change

    async def _say_yours(self, epoch: int, revision: int) -> None:
        message = OfSession(self.brain.session, epoch=epoch, revision=revision)
        await self._faults.reach(Point.YOURS_SENT)
        sent = self._context.now()
        try:
            await self._context.peers.call(self.brain.destination, "yours", message.to_json(), timeout=1.0)
        except ClusterError as error:
            _log.debug("the destination was not told", kind="yours", sentence=error.sentence)
            return
        self.moments.setdefault(HAND_OVER_SENT, sent)
        self.moments.setdefault(HAND_OVER_ANSWERED, self._context.now())
        await self._faults.reach(Point.YOURS_HEARD)

    async def _abandon(self) -> None:
        message = OfSession(self.brain.session, sentence=self.brain.reason or "the migration is over")
        for _ in range(20):
            try:
                await self._context.peers.call(self.brain.destination, "abandon", message.to_json(), timeout=1.0)
                return
            except PeerUnreachable:
                await asyncio.sleep(0.5)
            except ClusterError as error:
                _log.debug("the destination knows nothing to abandon", sentence=error.sentence)
                return

    async def _end_image(self) -> None:
        await self._faults.reach(Point.ENDING)
        instance = self.vm.instance
        if instance is not None:
            instance.kill()
            await instance.wait_gone()
        self.post(e.ImageEnded())

    async def _finish(self) -> None:
        self._unsubscribe()
        self._drop_effects()
        try:
            await self._on_ended(self)
            self._context.journals.forget_outgoing(self.vm.vm_id)
        finally:
            self.ended.set()

    def word_of_gift(self, epoch: int) -> GiverWord:
        """Say what became of the gift that the record of this epoch tells of (R8)."""
        phase = self.brain.phase
        if phase in (*SERVING, Phase.ENDING_IMAGE, Phase.ENDED) or self.brain.record.epoch > epoch:
            return GiverWord.WAIT  # the record has moved on: whoever asks will see it
        # Once noted, `yours` may be out at any moment, and is never taken back (R5).
        return GiverWord.SENT if phase in (Phase.NOTING_YOURS, Phase.TELLING) else GiverWord.NOT_SENT

    def _instance(self) -> hv.Instance:
        instance = self.vm.instance
        if instance is None:
            raise hv.HypervisorGone(self.vm.vm_id, "the source's QEMU is gone")
        return instance
