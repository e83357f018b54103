"""The hands of the destination's brain in a simulated world, as `engine/incoming_session.py` is in production."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import GroupId, VmId
from quorate.clusapi.machine import Step
from quorate.database.records import RunState
from quorate.engine.hosted import to_brain
from quorate.engine.journal import IncomingNote
from quorate.engine.run_changes import run_after_destination
from quorate.hypervisor import contract as hv
from quorate.migration import incoming_events as i
from quorate.migration.incoming import Incoming, Outcome, Phase
from quorate.migration.ownership import Cas, CasAnswered, CasUnanswered, OwnershipRecord, SendCas
from quorate.migration.recovery import IncomingJournal
from quorate.simulator.brains import Hand
from quorate.simulator.holding import Held, write_ownership
from quorate.simulator.instance import Instance, let_run
from quorate.simulator.kernel import Future
from quorate.simulator.outgoing import OfSession, SessionAnswer
from quorate.simulator.qemu import Run
from quorate.simulator.session import Session
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.simulator.daemon import Daemon


LOOK_PAUSE: Final = 0.05
"""Seconds between two looks whether a guest in post-copy can run."""
FETCHING: Final = (Phase.FETCHING, Phase.RECONNECTING)
"""The guest runs here, and pages of it are at the source only."""


class IncomingSession(Session[Incoming, i.Event]):
    """One migration to a node."""

    SIDE = "destination"

    def __init__(
        self,
        daemon: "Daemon",
        group: GroupId,
        vm_id: VmId,
        brain: Incoming,
        on_ended: Callable[["IncomingSession"], Awaitable[None]],
        *,
        instance: Instance | None = None,
        after: "Future[None] | None" = None,
    ) -> None:
        """Receive a guest; a recovered session has its ``instance``, a new one waits for what is in its way."""
        super().__init__(daemon, group, brain)
        self.vm_id = vm_id
        self.instance = instance
        self.run: RunState | None = None
        self._on_ended = on_ended
        self._after = after
        self._is_launching = False
        self._has_seen_it_at_source = False
        self._uri = ""
        self.held: Held | None = None
        """Since the guest runs here with pages missing."""
        self.on_fetching: Callable[[IncomingSession], None] = lambda session: None
        self._has_switched = brain.pages_missing
        self._forget: Callable[[], None] = lambda: None
        if instance is not None:
            self._forget = instance.subscribe(self._on_instance_event)

    def carry_on(self, effects: tuple[object, ...]) -> None:
        """Begin; what an earlier daemon has let wait is looked at."""
        super().carry_on(effects)
        if self.instance is not None and self.brain.phase is Phase.RECEIVING:
            self.life.spawn(self._look_again())

    def _step(self, event: i.Event, now: float) -> Step[Incoming]:
        return self.brain.step(event, now)

    def _news_of_lapse(self) -> tuple[i.Event, ...]:
        lapse = i.LeaseLapsed("the lease of the destination node ran out during the migration")
        if self.instance is None or not self.instance.is_gone:
            return (lapse,)
        self._forget()
        self._forget = lambda: None
        return i.ImageExited("its QEMU was ended when the lease of the destination node ran out"), lapse

    def _tick(self) -> i.Event:
        return i.Tick()

    def _on_instance_event(self, event: hv.InstanceEvent) -> None:
        match event:
            case hv.MigrationChanged(hv.MigrationStatus.COMPLETED, _):
                self.post(i.LoadCompleted())
            case hv.MigrationChanged(hv.MigrationStatus.POSTCOPY, _):
                self._on_post_copy()
            case hv.MigrationChanged(hv.MigrationStatus.POSTCOPY_PAUSED, _):
                self.post(i.PagesStopped("the connection that pages come over broke"))
            case hv.MigrationChanged(hv.MigrationStatus.FAILED, sentence):
                self.post(i.LoadFailed(sentence or "QEMU says that the guest did not load"))
            case hv.Exited(_, sentence):
                self.post(i.ImageExited(sentence))
            case hv.Speaking():
                self.life.spawn(self._look_again())
            case _:
                pass

    def _on_post_copy(self) -> None:
        self.post(i.PagesFlow() if self._has_switched else i.SwitchedOver())
        self._has_switched = True

    async def _look_again(self) -> None:
        try:
            assert self.instance is not None, "what speaks is there"
            seen = await self.instance.migration()
            while not self._has_switched and seen.status.is_postcopy and not await self._can_run():
                await self.life.sleep(LOOK_PAUSE)
                seen = await self.instance.migration()
        except ClusterError:
            return
        if seen.status is hv.MigrationStatus.COMPLETED:
            self.post(i.LoadCompleted())
        elif seen.status.is_postcopy and not self._has_switched:
            self._on_post_copy()

    async def _can_run(self) -> bool:
        assert self.instance is not None, "what is in post-copy is there"
        return await self.instance.run_state() is not hv.RunState.INMIGRATE

    # --- effects -----------------------------------------------------------------------------------------------------

    def _do(self, effect: object) -> None:
        spawn = self.life.spawn
        match effect:
            case i.WakeAfter(seconds):
                self._wake_after(seconds)
            case i.Launch():
                spawn(self._launch())
            case i.TellPrepared(uri):
                spawn(self._say("prepared", uri=uri))
            case i.TellFailed(sentence):
                spawn(self._say("failed", sentence=sentence))
            case i.AskSession():
                spawn(self._ask_session())
            case i.ReadRecord():
                spawn(self._read_record())
            case i.NoteCont():
                if self._note(cont=True):
                    self.post(i.ContNoted())
            case i.Cont():
                spawn(self._cont(self._incarnation))
            case i.Announce():
                pass  # there is no network of guests here
            case SendCas(cas):
                spawn(self._send_cas(cas))
            case i.TakeOn():
                self.on_fetching(self)
            case i.ListenAgain():
                spawn(self._listen_again())
            case i.TellRecover(uri):
                spawn(self._say("recover", uri=uri))
            case i.EndImage():
                spawn(self._end_image())
            case i.Tell(sentence):
                self.daemon.say(Kind.SAY, f"{self._name}: {sentence}")
            case i.Finish():
                self.daemon.life.spawn(self._finish(), "the end of an arrival")
            case _:
                raise AssertionError(f"the destination's brain asks for {effect!r}, which has no hand")

    def _note(self, *, cont: bool) -> bool:
        machine, brain = self.daemon.machine, self.brain
        if machine.is_disk_full:
            self.post(i.NoteFailed("the disk is full"))
            return False
        journal = IncomingJournal(
            brain.session, brain.me, brain.source, brain.image, brain.source_image, brain.record, cont
        )
        if Hand.JOURNAL not in self.daemon.world.brains.weaknesses or not cont:
            machine.incoming_notes[self.group] = IncomingNote(self.group, self.vm_id, journal)
        return True

    async def _launch(self) -> None:
        self._is_launching = True
        if self._after is not None:
            await self._after
        if self._is_ending():
            self._is_launching = False
            self.post(i.ImageEnded())
            return
        self._note(cont=False)
        try:
            self.instance = await self.daemon.launch(self.group, self.vm_id, self.brain.image, Run.INMIGRATE)
        except ClusterError as error:
            self._is_launching = False
            self.post(i.LaunchFailed(error.sentence))
            return
        self._forget = self.instance.subscribe(self._on_instance_event)
        uri = self.daemon.world.listen(self.instance.qemu)
        self._is_launching = False
        if self._is_ending():
            await self._end_image()
            return
        self._uri = uri
        self.post(i.Launched(uri))

    async def _listen_again(self) -> None:
        try:
            assert self.instance is not None, "what misses pages is there"
            await self.instance.pause_postcopy()
        except ClusterError:
            return
        self.post(i.ListensAgain(self.daemon.world.listen(self.instance.qemu)))

    def _is_ending(self) -> bool:
        return self.brain.phase is Phase.ENDING

    async def _say(self, kind: str, *, sentence: str = "", uri: str = "") -> None:
        message = OfSession(self.brain.session, sentence=sentence, uri=uri)
        for _ in range(3):
            try:
                await self.daemon.call(self.brain.source, kind, message, 1.0)
                return
            except ClusterError:
                continue

    async def _ask_session(self) -> None:
        try:
            answer = await self.daemon.call(
                self.brain.source, "session", OfSession(self.brain.session, group=self.group), 1.0
            )
        except ClusterError:
            snapshot = self.daemon.view.snapshot
            lease = snapshot.leases.get(self.brain.source)
            is_dead = self.brain.source not in snapshot.nodes or (lease is not None and lease.value.ended)
            await self._conclude(is_dead=is_dead)
            return
        assert isinstance(answer, SessionAnswer), "so it is answered"
        if answer.known:
            self.post(i.SessionAlive())
        else:
            await self._conclude(is_dead=answer.is_certain)

    async def _conclude(self, *, is_dead: bool) -> None:
        if is_dead and self.brain.phase in FETCHING:
            await self._look_again()
        self.post(i.SessionDead() if is_dead else i.SourceSilent())

    def on_record(self, record: OwnershipRecord) -> None:
        """The record as the view shows it."""
        brain = self.brain
        if brain.phase in FETCHING:
            self.post(i.RecordSeen(record))
            return
        if record.holder == brain.source and record.image == brain.source_image:
            self._has_seen_it_at_source = True
        elif self._has_seen_it_at_source and not brain.is_mine(record):
            self.post(i.Abandoned(f"node {record.holder} owns the virtual machine since epoch {record.epoch}"))

    async def _read_record(self) -> None:
        try:
            ownership = await self.daemon.database.get_ownership(self.group)
        except ClusterError:
            return
        self.post(i.RecordSeen(to_brain(ownership)))

    async def _cont(self, incarnation: str) -> None:
        try:
            assert self.instance is not None, "there is nothing to run"
            await let_run(self.daemon, self.instance, incarnation, patience=0.0)
        except ClusterError as error:
            self.post(i.ContFailed(error.sentence))
            return
        self.post(i.ContDone())

    async def _send_cas(self, cas: Cas) -> None:
        try:
            run = await self.daemon.database.get_run_state(self.group)
        except ClusterError:
            self.post(CasUnanswered(cas.attempt))
            return
        missing = self.brain.pages_missing
        new = run_after_destination(run.value, cas.kind, self.brain.reason, self.daemon.node, pages_missing=missing)
        answer = await write_ownership(self.daemon, self.group, cas, new)
        if isinstance(answer, CasAnswered):
            self.run = new
        self.post(answer)

    async def _end_image(self) -> None:
        if self.instance is not None:
            if self.brain.outcome is Outcome.IMAGE_LOST:
                self.daemon.world.laws.on_given_up(self.instance.qemu)
            self.instance.kill()
            await self.instance.wait_gone()
        elif self._is_launching:
            return  # `_launch` finds the session ending and comes here again
        self.post(i.ImageEnded())

    async def _finish(self) -> None:
        await self._on_ended(self)
        self.daemon.machine.incoming_notes.pop(self.group, None)
        self._forget()
        self.life.end()
        self.ended.set(None)

    def describe(self) -> SessionAnswer:
        """Answer the source."""
        phase = self.brain.phase
        image_is_good = phase not in (Phase.ENDING, Phase.LEFT, Phase.ENDED)
        return SessionAnswer(image_is_good, phase is Phase.PREPARING, self._uri if image_is_good else "")
