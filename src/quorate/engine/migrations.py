"""The migrations of this node: those to here, and what other nodes say about all of them."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError, FaultError, RefusalError
from quorate.clusapi.host_sight import GuestSight
from quorate.clusapi.identity import GroupId, SessionId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState
from quorate.clusapi.status import E_FAIL, Status
from quorate.cluster.failover import GiverWord
from quorate.database.contract import StoreUnavailable
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.announcements import addresses_of, announce_until_seen
from quorate.engine.chronicle import Chronicle
from quorate.engine.foresight import Foresight
from quorate.engine.host_check import judge_this_host
from quorate.engine.hosted import LATER, HostedVm, to_brain, to_database
from quorate.engine.incoming_session import IncomingSession
from quorate.engine.link_probe import Sink
from quorate.engine.liveness import ALIVE_PATIENCE, see_alive
from quorate.engine.outgoing_migrations import OutgoingMigrations
from quorate.engine.outgoing_session import OutgoingSession
from quorate.engine.path_probe import Door
from quorate.engine.queue_link import QueueLink
from quorate.engine.session import HAND_OVER_TOLD
from quorate.engine.supervised import spawn
from quorate.engine.transports import CarriedSpeeds, destination_tls, own_offer, wishes_of
from quorate.hypervisor import contract as hv
from quorate.hypervisor.definition_json import parse_definition
from quorate.hypervisor.pinned import Pinned
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.incoming import Incoming, begin
from quorate.migration.incoming import Outcome as IncomingOutcome
from quorate.migration.ownership import OwnershipRecord
from quorate.migration.rules import require
from quorate.migration.transport import Encryption, Way, Wishes, judge_encryption
from quorate.peers.messages import Assess, GiverQuestion, OfSession, Prepare, SessionAnswer

PREFAULT: Final = False
"""Touching the destination's memory before the copy begins costs as long as touching it on arrival does, and takes what
the guest never used as well; docs/benchmarks.md has the figures."""

MOST_DOORS: Final = 8
"""Networks that are tried for one question."""

_log = structlog.get_logger("migration")


class Migrations(OutgoingMigrations):
    """The virtual machines of this node with their migrations, outgoing and incoming."""

    on_arrived: Callable[[HostedVm], Awaitable[None]]
    """Awaited when a VM runs here after a migration."""
    on_not_arrived: Callable[[GroupId], None]
    """Called before the loss of a VM is told that never ran here, as its giver died before its memory had come."""

    incoming: dict[SessionId, IncomingSession]
    recovering: set[GroupId]
    """The VMs of which an earlier daemon left a QEMU that has not spoken yet: nothing is concluded about them."""
    has_looked: bool
    """Whether this daemon knows which those are."""

    def prepare_sessions(self) -> None:
        """Begin with none."""
        self.outgoing = {}
        self.links = CarriedSpeeds()
        self.incoming = {}
        self.recovering = set()
        self.has_looked = False
        self._left = set()
        self.queue = QueueLink(self.context)
        self.chronicle = Chronicle(self.context)
        self.foresight = Foresight(self.context)
        self.on_fruitless = lambda move, sentence, is_final: None
        self.context.view.subscribe(self._on_snapshot)

    # --- the destination's side ------------------------------------------------------------------------------------

    async def on_assess(self, question: Assess) -> dict[str, JsonValue]:
        """Answer whether this node could run a VM now: with every rule, or to an older node by refusing.

        Raises:
            RefusalError: 5953, 5957; only where an explanation was not asked for.
            FaultError: this host could not be looked at.
        """
        wanted, pinned = (
            parse_definition(json.dumps(question.definition)),
            Pinned.from_json(json.dumps(question.pinned)),
        )
        guest = GuestSight() if question.guest is None else GuestSight.from_json(question.guest)
        findings = await judge_this_host(self.context.hypervisor, wanted, pinned, guest)  # 5953 before 5957
        findings += (await self.admission.judge(None, wanted.name, pinned.memory_bytes),)
        facts = await self.context.hypervisor.host_facts()
        if not question.explain:
            require(findings)
            return {"memory_free": str(facts.memory_free)}
        return {
            "memory_free": str(facts.memory_free),
            "findings": [finding.to_json() for finding in findings],
            "door": await self._open_door(self.context.migration_host),
            "doors": [await self._open_door(address) for address in self._addresses(question)],
            "offer": {**own_offer(self.context), "no_post_copy": facts.no_post_copy},
            "time": time.time(),
        }

    def _addresses(self, question: Assess) -> tuple[str, ...]:
        """Where memory could come in besides; nowhere but by a socket where nodes reach each other by sockets."""
        return () if self.context.migration_host is None else question.addresses[:MOST_DOORS]

    async def _open_door(self, host: str | None) -> dict[str, JsonValue]:
        """Let whoever asks try a way that memory would take."""
        door = Door()
        opened = await door.open(host, self.context.paths.runtime)
        spawn(self._tasks, door.keep(), "the door for a trial of the way of memory")
        return opened

    async def on_sink(self, address: str) -> dict[str, JsonValue]:
        """Let another node try what the way of memory to an address of this one carries; answers where."""
        sink, own = Sink(), self.context.migration_host
        opened = await sink.open(None if own is None else address or own, self.context.paths.runtime)
        spawn(self._tasks, sink.keep(), "the sink for a trial of the speed of a link")
        return opened

    async def on_prepare(self, message: Prepare) -> None:
        """Begin to receive a VM; `prepared` or `failed` follows. Raises RefusalError 5052, 5957."""
        if message.session in self.incoming:
            return
        if not self.context.lease.is_held:
            sentence = (
                f"{self.context.node_name} does not hold its lease at this moment: nothing may begin to run there"
            )
            raise RefusalError(Status.ERROR_CLUSTER_NODE_NOT_MEMBER, sentence)
        pinned, parameters = Pinned.from_json(json.dumps(message.pinned)), self._parameters(message)
        await self.admission.reserve(message.group, message.name, pinned.memory_bytes)
        request = hv.LaunchRequest(
            vm_id=message.vm_id,
            name=message.name,
            image=message.image,
            definition=parse_definition(json.dumps(message.definition)),
            pinned=pinned,
            paths=self.context.paths.vm,
            launch=hv.Incoming(prefault=PREFAULT),
        )
        brain = Incoming(
            session=message.session,
            me=self.context.node,
            source=message.source,
            image=message.image,
            source_image=message.source_image,
        )
        step = begin(brain, self.context.now())
        session = IncomingSession(
            self.context,
            message.group,
            message.vm_id,
            message.name,
            step.state,
            self.on_incoming_ended,
            request=request,
            parameters=parameters,
            after=self._in_the_way(message),
            transport=message.transport,
        )
        self.follow_incoming(session)
        session.carry_on(step.effects)

    def _parameters(self, message: Prepare) -> hv.MigrationParameters:
        """How memory comes in. Raises RefusalError 5035: not as the cluster wants it."""
        context = self.context
        host = None if context.migration_host is None else message.host or context.migration_host
        tls = destination_tls(context, message.source) if message.encrypted else None
        if host is not None and tls is None:
            wishes = wishes_of(context.view.snapshot)
            wanted = Wishes(Encryption.ALWAYS) if message.encrypted else wishes
            require((judge_encryption(wanted, Way(context.node_name, over_tcp=True)),))
        return hv.MigrationParameters(
            multifd_channels=message.channels,
            compressed=message.compressed,
            tcp_host=host,
            tls=tls,
            post_copy=message.post_copy,
        )

    def follow_incoming(self, session: IncomingSession) -> None:
        """Have a session to here from now on."""
        session.on_fetching = self._on_fetching
        self.incoming[session.brain.session] = session

    async def _on_fetching(self, session: IncomingSession) -> None:
        """Have the VM: it runs here by the record. Its migration is shown as under way until no page is missing."""
        async with session.taking_on:
            vm = await self._hosted_after(session)
            vm.is_fetching = True
            session.vm = vm
            session.show_fetching()
            await self._take_on_arrived(vm, session)

    async def _take_on_arrived(self, vm: HostedVm, session: IncomingSession) -> None:
        """Have a VM that runs here; what its guest did to itself while nobody had it is seen to now."""
        ended = session.guest_ended
        self.take_on(vm)
        await self.on_arrived(vm)
        if ended is not None and vm.instance is not None:
            self.on_instance_event(vm, vm.instance, ended)
        spawn(self._tasks, self._announce_on(vm), f"the announcements of {vm.name}")

    async def _announce_on(self, vm: HostedVm) -> None:
        """Announce one that has arrived until it is seen there, unless it leaves before."""
        instance = vm.instance
        try:
            definition, _ = await self.power.definition(vm)
        except ClusterError as error:
            _log.warning("it is not known whom to announce", vm=vm.name, sentence=error.sentence)
            return

        def is_here() -> bool:
            return self.find(vm.group) is vm and vm.instance is instance and vm.group not in self.outgoing

        if instance is not None:
            await announce_until_seen(instance, vm.name, addresses_of(definition), is_here)

    async def _end_fetching(self, session: IncomingSession, vm: HostedVm) -> None:
        """No page is missing any more, or what is missing will not come."""
        vm.is_fetching = False
        outcome, brain = session.brain.outcome, session.brain
        if outcome is IncomingOutcome.RUNS:
            source, here = self.context.name_of(brain.source), self.context.node_name
            sentence = f"moved from {source} to {here}"
            shown = replace(
                vm.progress, state=MigrationState.NO_MIGRATION, percent=100, phase="done", sentence=sentence
            )
            vm.show(shown)
            await self._tell_state(vm, MigrationState.NO_MIGRATION, 0, "")
            return
        vm.show(
            replace(
                vm.progress,
                state=MigrationState.FAILURE,
                failure_reason=E_FAIL,
                phase="ended",
                sentence=brain.reason,
            )
        )
        await self._tell_state(vm, MigrationState.FAILURE, E_FAIL, brain.reason)
        if vm.instance is session.instance and vm.group not in self._stopping:
            self.report_lost(vm, brain.reason)

    async def _tell_state(self, vm: HostedVm, state: MigrationState, reason: int, sentence: str) -> None:
        try:
            await vm.tell(vm.migration_change(state, reason, sentence), ())
        except RefusalError as error:
            _log.warning("the end of a migration was not written", vm=vm.name, sentence=error.sentence)

    def _in_the_way(self, message: Prepare) -> asyncio.Event | None:
        """What an arriving VM has to wait for: its last migration away, or one to here that was just given up."""
        sessions: list[OutgoingSession | IncomingSession] = [
            session for session in self.incoming.values() if session.vm_id == message.vm_id
        ]
        if (leaving := self.outgoing.get(message.group)) is not None:
            sessions.append(leaving)
        if len(sessions) < 2:
            return sessions[0].ended if sessions else None
        gone = asyncio.Event()

        async def wait() -> None:
            await asyncio.gather(*(session.ended.wait() for session in sessions))
            gone.set()

        spawn(self._tasks, wait(), f"the way of {message.name} is free")
        return gone

    async def on_incoming_ended(self, session: IncomingSession) -> None:
        """Do what the outcome of a session to here asks for; until then nobody else takes the group on."""
        _log.info("arrival figures", vm=session.name, session=session.brain.session, moments=dict(session.moments))
        async with session.taking_on:
            fetched = session.vm
        try:
            match session.brain.outcome:
                case IncomingOutcome.RUNS if fetched is not None:
                    await self._end_fetching(session, fetched)
                    spawn(self._tasks, self._look_after(session), f"how {session.name} is after its migration")
                case IncomingOutcome.IMAGE_LOST if fetched is not None:
                    await self._end_fetching(session, fetched)
                case IncomingOutcome.RUNS:
                    vm = await self._hosted_after(session)
                    await self._take_on_arrived(vm, session)
                    spawn(self._tasks, self._look_after(session), f"how {session.name} is after its migration")
                case IncomingOutcome.IMAGE_LOST | IncomingOutcome.NOT_ARRIVED:
                    vm = await self._hosted_after(session)
                    vm.instance = None
                    self.take_on(vm)
                    await self.on_arrived(vm)
                    if session.brain.outcome is IncomingOutcome.NOT_ARRIVED:
                        self.on_not_arrived(session.group)
                    await self.on_image_lost(session.group, session.brain.reason)
                case _:
                    pass
        finally:
            self.incoming.pop(session.brain.session, None)
            if not any(other.group == session.group for other in self.incoming.values()):
                self.admission.release(session.group)

    async def _look_after(self, session: IncomingSession) -> None:
        """See that the guest lives, write down what this side knows, and look at it for the next time."""
        assert session.instance is not None, "it runs"
        alive = await see_alive(session.instance)
        if alive is None:
            _log.warning("a guest was not seen to live after its migration", vm=session.name, seconds=ALIVE_PATIENCE)
        self.chronicle.arrived(session, alive)
        try:
            is_quiet = not (self.outgoing or self.incoming)  # nobody's memory shall wait for this
            if is_quiet and not session.instance.is_gone:
                await self.foresight.look_after_arrival(session.group, session.instance)
        except ClusterError as error:
            _log.debug("it is not known how much memory a guest has in use", vm=session.name, sentence=error.sentence)

    async def _hosted_after(self, session: IncomingSession) -> HostedVm:
        """The VM as this node owns it now, by the records that the session wrote last."""
        record, run = session.brain.record, session.run
        while record is None or run is None:  # recovered, and lost before it wrote anything: nothing is urgent
            try:
                record = to_brain(await self.context.database.get_ownership(session.group))
                run = (await self.context.database.get_run_state(session.group)).value
            except StoreUnavailable:
                await asyncio.sleep(LATER)
        vm = HostedVm(self.context, session.group, session.vm_id, to_database(record), run, session.instance)
        source, here = self.context.name_of(session.brain.source), self.context.node_name
        vm.progress = MigrationProgress(
            state=MigrationState.NO_MIGRATION,
            percent=100,
            session=session.brain.session,
            source=source,
            destination=here,
            phase="done",
            transport=session.transport,
            sentence=f"moved from {source} to {here}",
        )
        return vm

    # --- words of other nodes --------------------------------------------------------------------------------------

    def on_message(self, kind: str, message: OfSession) -> dict[str, JsonValue]:
        """Hand a word about a session to its brain; one of another session is nothing (R3)."""
        outgoing = next((s for s in self.outgoing.values() if s.brain.session == message.session), None)
        incoming = self.incoming.get(message.session)
        match kind:
            case "session":
                if incoming is not None:
                    return incoming.describe().to_json()
                certain = self.has_looked and not self._may_be_left(message.group)
                return SessionAnswer(known=outgoing is not None, is_certain=certain).to_json()
            case "prepared" if outgoing is not None:
                outgoing.post(e.Prepared(message.uri))
            case "recover" if outgoing is not None:
                outgoing.post(e.Recover(message.uri))
            case "pages paused" if incoming is not None:
                incoming.post(i.PagesPaused(message.sentence))
            case "failed" if outgoing is not None:
                outgoing.post(e.DestinationFailed(message.sentence))
            case "abandon" if incoming is not None:
                incoming.post(i.Abandoned(message.sentence))
            case "yours" if incoming is not None:
                incoming.moments.setdefault(HAND_OVER_TOLD, self.context.now())
                incoming.post(i.Yours(self._told(incoming, message)))
            case _:
                raise FaultError(Status.ERROR_NOT_FOUND, f"{self.context.node_name} has no such session for {kind!r}")
        return {}

    def _may_be_left(self, group: GroupId | None) -> bool:
        """Whether an earlier daemon may have left something of a group that is not taken on yet; None: of any."""
        return bool(self.recovering) if group is None else group in self.recovering

    def _told(self, session: IncomingSession, message: OfSession) -> OwnershipRecord:
        """The record that the source tells of: it was written by the source, so that its fields are known."""
        brain = session.brain
        return OwnershipRecord(brain.me, message.epoch, brain.image, brain.source, brain.source_image, message.revision)

    def _on_snapshot(self, snapshot: ClusterSnapshot) -> None:
        for group, session in tuple(self.outgoing.items()):
            ownership = snapshot.ownership.get(group)
            if ownership is not None:
                session.post(e.RecordSeen(to_brain(ownership)))
        for incoming in tuple(self.incoming.values()):
            ownership = snapshot.ownership.get(incoming.group)
            if ownership is not None:
                incoming.on_record(to_brain(ownership))

    # --- what the coordinator asks (R8) ----------------------------------------------------------------------------

    def on_giver(self, question: GiverQuestion) -> GiverWord:
        """Answer what became of a gift of ours whose receiver has died: is `yours` out?"""
        session = self.outgoing.get(question.group)
        if session is not None:
            return session.word_of_gift(question.epoch)
        return GiverWord.WAIT if question.group in self.recovering else GiverWord.GONE
