"""Carries out what the destination's brain decides: a QEMU that waits, the claim, `cont`, the mark."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, VmId
from quorate.clusapi.machine import Step
from quorate.clusapi.states import MigrationState
from quorate.database.records import RunState
from quorate.engine.context import EngineContext
from quorate.engine.fault_points import Point
from quorate.engine.hosted import HostedVm, to_brain, write_ownership
from quorate.engine.journal import IncomingNote
from quorate.engine.passages import passages_to
from quorate.engine.run_changes import PAGES_MISSING, run_after_destination
from quorate.engine.session import GUEST_RUNNING, Session
from quorate.engine.vcpus import ended_by_itself, let_run
from quorate.hypervisor import contract as hv
from quorate.migration import incoming_events as i
from quorate.migration.incoming import Incoming, Phase
from quorate.migration.ownership import Cas, CasAnswered, CasKind, CasUnanswered, OwnershipRecord, SendCas
from quorate.migration.recovery import IncomingJournal
from quorate.peers.messages import OfSession, SessionAnswer

FETCHING = (Phase.FETCHING, Phase.RECONNECTING)
"""The guest runs here, and pages of it are at the source only."""

LOOK_PAUSE = 0.05
"""Seconds between two looks whether a guest in post-copy can run."""

_log = structlog.get_logger("migration")


async def _nothing(session: "IncomingSession") -> None:
    """Nobody wants to know."""


class IncomingSession(Session[Incoming, i.Event]):
    """One migration to this node."""

    SIDE = "incoming"

    def __init__(
        self,
        context: EngineContext,
        group: GroupId,
        vm_id: VmId,
        name: str,
        brain: Incoming,
        on_ended: Callable[["IncomingSession"], Awaitable[None]],
        *,
        request: hv.LaunchRequest | None = None,
        parameters: hv.MigrationParameters | None = None,
        instance: hv.Instance | None = None,
        after: asyncio.Event | None = None,
        transport: str = "",
    ) -> None:
        """Receive a VM: a new session brings the ``request`` to launch, a recovered one the ``instance`` it adopted.

        ``after`` is what a launch has to wait for: the VM's last migration away from here, which may still be ending
        its QEMU and its journal while its destination sends it back. ``transport`` says how memory comes, to people.
        """
        super().__init__(context, name, brain)
        self.group = group
        self.vm_id = vm_id
        self.instance = instance
        self.transport = transport
        self.run: RunState | None = None
        """The run state as this side wrote it last, together with `brain.record`."""
        self._on_ended = on_ended
        self._request = request
        self._after = after
        self._parameters = parameters or hv.MigrationParameters()
        self._launching = False
        self._seen_at_source = False
        self._uri = ""
        self._has_marked = False
        self._listened_again = 0
        self._has_switched = brain.pages_missing
        self._since = datetime.now(UTC)
        self.on_fetching: Callable[[IncomingSession], Coroutine[object, object, None]] = _nothing
        """Awaited when the guest runs here by the record, while pages of it are missing."""
        self.vm: HostedVm | None = None
        """Since then: the VM as this node has it."""
        self.guest_ended: hv.GuestShutdown | hv.GuestPanicked | None = None
        """What the guest did to itself here before this node had it."""
        self._may_have_ended = instance is not None
        """Whether that may have been while no daemon was there: not asked where every moment counts."""
        self.taking_on = asyncio.Lock()
        self._unsubscribe: Callable[[], None] = lambda: None
        if instance is not None:
            self._unsubscribe = instance.subscribe(self._on_instance_event)

    # --- events in, steps taken ------------------------------------------------------------------------------------

    def carry_on(self, effects: tuple[object, ...]) -> None:
        """Begin. What an earlier daemon has let wait may have said meanwhile that it can run: it is looked at."""
        super().carry_on(effects)
        if self.instance is not None and self.brain.phase is Phase.RECEIVING:
            self._spawn(self._look_again())

    def _step(self, event: i.Event, now: float) -> Step[Incoming]:
        return self.brain.step(event, now)

    def _news_of_lapse(self) -> tuple[i.Event, ...]:
        lapse = i.LeaseLapsed("the lease of the destination node ran out during the migration")
        if self.instance is None or not self.instance.is_gone:
            return (lapse,)
        # Ended by the guard, as it was meant to be: known before anything is claimed, so that it can be given back.
        self._unsubscribe()
        self._unsubscribe = lambda: None
        return i.ImageExited("its QEMU was ended when the lease of the destination node ran out"), lapse

    def _tick(self) -> i.Event:
        return i.Tick()

    def _on_step(self, before: Incoming, event: i.Event) -> None:
        """Nobody looks at this side until the guest runs here; the source shows how far it is."""
        if self.brain.phase is before.phase or self.brain.phase not in FETCHING:
            return
        self._since = datetime.now(UTC)
        self.show_fetching()

    def show_fetching(self) -> None:
        """Show of a guest that runs here whether the pages come that are missing, and if not, since when."""
        if self.vm is None:
            return
        phase, sentence = "fetching pages", PAGES_MISSING
        if self.brain.phase is Phase.RECONNECTING:
            phase, sentence = "reconnecting", f"since {self._since:%H:%M:%S} UTC: {self.brain.reason}"
        shown = replace(self.vm.progress, state=MigrationState.MOVE, percent=99, phase=phase, sentence=sentence)
        self.vm.show(shown)

    def _on_instance_event(self, event: hv.InstanceEvent) -> None:
        match event:
            case hv.MigrationChanged(hv.MigrationStatus.COMPLETED, _):
                self._faults.then(Point.LOADED, lambda: self.post(i.LoadCompleted()), self._spawn)
            case hv.MigrationChanged(hv.MigrationStatus.POSTCOPY, _):
                self._on_post_copy()
            case hv.MigrationChanged(hv.MigrationStatus.POSTCOPY_PAUSED, _):
                self.post(i.PagesStopped("the connection that pages come over broke"))
            case hv.MigrationChanged(hv.MigrationStatus.FAILED, sentence):
                self.post(i.LoadFailed(sentence or "QEMU says that the guest did not load"))
            case hv.Exited(_, sentence):
                self.post(i.ImageExited(sentence))
            case hv.Speaking():
                self._spawn(self._look_again())
            case hv.GuestShutdown(by_guest=True) | hv.GuestPanicked():
                self.guest_ended = event
            case _:
                pass

    def _on_post_copy(self) -> None:
        if self._has_switched:
            self.post(i.PagesFlow())
            return
        self._has_switched = True
        self._faults.then(Point.LOADED, lambda: self.post(i.SwitchedOver()), self._spawn)

    async def _look_again(self) -> None:
        """A QEMU that was mute may have said the decisive word while nobody could hear it."""
        try:
            assert self.instance is not None, "what speaks is there"
            seen = await self.instance.migration()
            while not self._has_switched and seen.status.is_postcopy and not await self._can_run():
                await asyncio.sleep(LOOK_PAUSE)
                seen = await self.instance.migration()
        except ClusterError:
            return
        if seen.status is hv.MigrationStatus.COMPLETED:
            self.post(i.LoadCompleted())
        elif seen.status.is_postcopy and not self._has_switched:
            self._on_post_copy()

    async def _can_run(self) -> bool:
        """It says that it is in post-copy before it has read the devices' state. Raises ClusterError."""
        assert self.instance is not None, "what is in post-copy is there"
        return await self.instance.run_state() is not hv.RunState.INMIGRATE

    # --- effects ---------------------------------------------------------------------------------------------------

    def _do(self, effect: object) -> None:
        match effect:
            case i.Launch():
                self._spawn(self._launch())
            case i.TellPrepared(uri):
                self._spawn(self._say("prepared", uri=uri))
            case i.TellFailed(sentence):
                self._spawn(self._say("failed", sentence=sentence))
            case i.AskSession():
                self._spawn(self._ask_session())
            case i.ReadRecord():
                self._spawn(self._read_record())
            case i.NoteCont():
                if self._note(cont=True):
                    self.post(i.ContNoted())
            case i.Cont():
                self._spawn(self._cont(self._incarnation))
            case i.Announce():
                self._spawn(self._announce())
            case SendCas(cas):
                self._spawn(self._send_cas(cas))
            case i.TakeOn():
                self._spawn_outliving(self.on_fetching(self))
            case i.ListenAgain():
                self._spawn(self._listen_again())
            case i.TellRecover(uri):
                self._spawn(self._say("recover", uri=uri))
            case i.EndImage():
                self._spawn(self._end_image())
            case i.WakeAfter(seconds):
                self._wake_after(seconds)
            case i.Tell(sentence):
                _log.warning("incoming", vm=self.name, sentence=sentence)
            case i.Finish():
                self._spawn_outliving(self._finish())
            case _:
                raise AssertionError(f"the destination's brain asks for {effect!r}, which has no hand")

    def _note(self, *, cont: bool) -> bool:
        brain = self.brain
        journal = IncomingJournal(
            session=brain.session,
            me=brain.me,
            source=brain.source,
            image=brain.image,
            source_image=brain.source_image,
            told=brain.record,
            cont_may_be_out=cont,
        )
        try:
            self._context.journals.write_incoming(IncomingNote(self.group, self.vm_id, journal))
        except FaultError as error:
            self.post(i.NoteFailed(error.sentence))
            return False
        return True

    async def _launch(self) -> None:
        assert self._request is not None, "a recovered session launches nothing"
        self._launching = True
        if self._after is not None:
            await self._after.wait()
        if self._is_given_up():
            self._launching = False
            self.post(i.ImageEnded())
            return
        self._note(cont=False)
        try:
            self.instance = await self._context.hypervisor.launch(self._request)
            self._unsubscribe = self.instance.subscribe(self._on_instance_event)
            uri = await self.instance.listen(self._parameters)
        except (ClusterError, OSError) as error:
            self._launching = False
            self.post(i.LaunchFailed(error.sentence if isinstance(error, ClusterError) else str(error)))
            return
        await self._faults.reach(Point.PREPARING)
        self._launching = False
        if self._is_given_up():
            # Given up while it was being launched: this is the QEMU that the ending could not find.
            await self._end_image()
            return
        self._uri = uri
        self.post(i.Launched(uri))

    async def _listen_again(self) -> None:
        """Wait at a new address; with each try on another of the networks that memory may take."""
        parameters = replace(self._parameters, tcp_host=self._next_host())
        try:
            assert self.instance is not None, "what misses pages is there"
            await self.instance.pause_postcopy()
            uri = await self.instance.listen_again(parameters)
        except ClusterError as error:
            _log.warning("the rest of a guest is not waited for yet", vm=self.name, sentence=error.sentence)
            return
        self.post(i.ListensAgain(uri))

    def _next_host(self) -> str | None:
        if self._parameters.tcp_host is None:
            return None
        view = self._context.view
        passages = passages_to(view, view.snapshot, self.brain.source, self._context.node).tried
        hosts = [passage.address for passage in passages] or [self._parameters.tcp_host]
        host = hosts[self._listened_again % len(hosts)]
        self._listened_again += 1
        return host

    def _is_given_up(self) -> bool:
        return self.brain.phase is Phase.ENDING

    async def _say(self, kind: str, *, sentence: str = "", uri: str = "") -> None:
        message = OfSession(self.brain.session, sentence=sentence, uri=uri)
        for _ in range(3):
            try:
                await self._context.peers.call(self.brain.source, kind, message.to_json(), timeout=1.0)
                return
            except ClusterError as error:
                _log.debug("the source was not told", kind=kind, sentence=error.sentence)

    async def _ask_session(self) -> None:
        message = OfSession(self.brain.session, group=self.group)
        try:
            answer = await self._context.peers.call(self.brain.source, "session", message.to_json(), timeout=1.0)
        except ClusterError:
            # One whose lease is over as a fact of the database has no image any more: the record decides.
            await self._conclude(is_dead=self._is_source_dead())
            return
        said = SessionAnswer.from_json(answer)
        if said.known:
            self.post(i.SessionAlive())
        else:
            await self._conclude(is_dead=said.is_certain)

    async def _conclude(self, *, is_dead: bool) -> None:
        """The source has nothing left, or cannot say; a guest that misses pages by what we heard may have all of them.

        What it does not know while it takes on what an earlier daemon has left may be there all the same.
        """
        if is_dead and self.brain.phase in FETCHING:
            await self._look_again()
        self.post(i.SessionDead() if is_dead else i.SourceSilent())

    def _is_source_dead(self) -> bool:
        snapshot = self._context.view.snapshot
        lease = snapshot.leases.get(self.brain.source)
        was_evicted = self.brain.source not in snapshot.nodes
        return was_evicted or (lease is not None and lease.value.ended)

    def on_record(self, record: OwnershipRecord) -> None:
        """The record as the view shows it: once it has left the source for anybody but us, nothing is given to us."""
        brain = self.brain
        if brain.phase in FETCHING:
            self.post(i.RecordSeen(record))
            return
        if record.holder == brain.source and record.image == brain.source_image:
            self._seen_at_source = True
        elif self._seen_at_source and not brain.is_mine(record):
            self.post(i.Abandoned(f"node {record.holder} owns the virtual machine since epoch {record.epoch}"))

    async def _read_record(self) -> None:
        try:
            ownership = await self._context.database.get_ownership(self.group)
        except ClusterError as error:
            _log.warning("the ownership record was not read", vm=self.name, sentence=error.sentence)
            return
        self.post(i.RecordSeen(to_brain(ownership)))

    async def _cont(self, incarnation: str) -> None:
        try:
            assert self.instance is not None, "there is nothing to run"
            if self._may_have_ended:
                self.guest_ended = self.guest_ended or await ended_by_itself(self.instance)
            if self.guest_ended is None:
                await let_run(self._context, self.instance, self.name, "the migration", incarnation, patience=0.0)
        except ClusterError as error:
            self._may_have_ended = True
            self.post(i.ContFailed(error.sentence))
            return
        self.moments[GUEST_RUNNING] = self._context.now()
        self.post(i.ContDone())

    async def _announce(self) -> None:
        try:
            assert self.instance is not None, "there is nothing to announce"
            await self.instance.announce()
        except ClusterError as error:
            _log.warning("the network was not told where the guest is", vm=self.name, sentence=error.sentence)

    async def _send_cas(self, cas: Cas) -> None:
        try:
            run = await self._context.database.get_run_state(self.group)
        except ClusterError as error:
            _log.warning("the run state was not read", vm=self.name, sentence=error.sentence)
            self.post(CasUnanswered(cas.attempt))
            return
        missing = self.brain.pages_missing
        new = run_after_destination(run.value, cas.kind, self.brain.reason, self._context.node, pages_missing=missing)
        events = self._events_of_move(cas.epoch) if cas.kind is CasKind.MARK and not self._has_marked else ()
        answer = await write_ownership(self._context, self.group, cas, new, events)
        if isinstance(answer, CasAnswered):
            self.run = new
            self._has_marked |= cas.kind is CasKind.MARK
        self.moments[f"{cas.kind.value} answered"] = self._context.now()
        if cas.kind is CasKind.MARK:
            await self._faults.reach(Point.MARKED)
        self.post(answer)

    def _events_of_move(self, epoch: int) -> tuple[EventRecord, ...]:
        source, here = self._context.name_of(self.brain.source), self._context.node_name
        sentence = f"moved from {source} to {here}, epoch {epoch}"
        return tuple(
            self._context.event(kind, self.group, sentence, before=source, after=here, cause=self.brain.session)
            for kind in (EventKind.GROUP_OWNER, EventKind.MIGRATION_COMPLETED)
        )

    async def _end_image(self) -> None:
        if self.instance is not None:
            self.instance.kill()
            await self.instance.wait_gone()
        elif self._launching:
            return  # `_launch` finds the session ending and comes here again
        self.post(i.ImageEnded())

    async def _finish(self) -> None:
        try:
            await self._on_ended(self)
            self._context.journals.forget_incoming(self.vm_id)
        finally:
            self._unsubscribe()
            self._drop_effects()
            self.ended.set()

    def describe(self) -> SessionAnswer:
        """Answer the source. A QEMU that an earlier daemon has made ready may wait for a word that was never said."""
        phase = self.brain.phase
        image_is_good = phase not in (Phase.ENDING, Phase.LEFT, Phase.ENDED)
        return SessionAnswer(image_is_good, phase is Phase.PREPARING, self._uri if image_is_good else "")
