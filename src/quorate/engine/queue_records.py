"""Between the records of the queue and of drains and what the brains know of them."""

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import GroupStatus, NodePauseFlags, NodeResumeFailbackType, VmResdllContext
from quorate.cluster.moves import DRAIN_STATUS, Cause, Drain, DrainStage, Limits, Move, Stage, Trouble
from quorate.database.move_records import DrainRecord, MoveRecord, MoveWrite, TroubleNote
from quorate.database.moves import DrainWrite
from quorate.database.records import Versioned
from quorate.database.snapshot import ClusterSnapshot


def to_move(group: GroupId, found: Versioned[MoveRecord]) -> Move:
    """Give a brain an entry as the database has it."""
    record = found.value
    return Move(
        group=group,
        source=record.source,
        cause=Cause(record.cause),
        asked_at=record.asked_at,
        how=VmResdllContext(record.how),
        destination=record.destination,
        stage=Stage(record.stage),
        begun_at=record.begun_at,
        session=record.session,
        policy=record.policy,
        bandwidth_limit=record.bandwidth_limit,
        drain=record.drain,
        parks=record.parks,
        status=GroupStatus(record.status),
        is_final=record.is_final,
        sentence=record.sentence,
        revision=found.revision,
    )


def to_move_record(move: Move) -> MoveRecord:
    """Give the database an entry as a brain has it."""
    return MoveRecord(
        source=move.source,
        cause=move.cause.value,
        asked_at=move.asked_at,
        how=int(move.how),
        stage=move.stage.value,
        destination=move.destination,
        begun_at=move.begun_at,
        session=move.session,
        policy=move.policy,
        bandwidth_limit=move.bandwidth_limit,
        drain=move.drain,
        parks=move.parks,
        status=int(move.status),
        is_final=move.is_final,
        sentence=move.sentence,
    )


def put_move(move: Move, expected: int, turn: int | None = None) -> MoveWrite:
    """Write an entry as part of a transaction."""
    return MoveWrite(move.group, to_move_record(move), expected, turn)


def to_drain(node: NodeId, found: Versioned[DrainRecord]) -> Drain:
    """Give a brain a drain as the database has it."""
    record = found.value
    return Drain(
        node=node,
        id=record.id,
        started=record.started,
        target=record.target,
        flags=NodePauseFlags(record.flags),
        stage=DrainStage(record.stage),
        total=record.total,
        troubles={
            group: Trouble(
                attempts=note.attempts,
                how=VmResdllContext(note.how),
                sentence=note.sentence,
                again_at=note.again_at,
                nodes=note.nodes,
                nowhere=note.nowhere,
            )
            for group, note in record.troubles.items()
        },
        failback=NodeResumeFailbackType(record.failback),
        sentence=record.sentence,
        revision=found.revision,
    )


def to_drain_record(drain: Drain) -> DrainRecord:
    """Give the database a drain as a brain has it."""
    return DrainRecord(
        id=drain.id,
        started=drain.started,
        stage=drain.stage.value,
        target=drain.target,
        flags=int(drain.flags),
        total=drain.total,
        troubles={
            group: TroubleNote(
                attempts=trouble.attempts,
                how=int(trouble.how),
                sentence=trouble.sentence,
                again_at=trouble.again_at,
                nodes=trouble.nodes,
                nowhere=trouble.nowhere,
            )
            for group, trouble in drain.troubles.items()
        },
        failback=int(drain.failback),
        sentence=drain.sentence,
    )


def put_drain(drain: Drain, expected: int) -> DrainWrite:
    """Write a drain as part of a transaction."""
    return DrainWrite(drain.node, to_drain_record(drain), expected, DRAIN_STATUS[drain.stage])


def limits_of(snapshot: ClusterSnapshot) -> Limits:
    """How many moves the cluster's properties allow at a time."""
    properties = snapshot.cluster.properties
    usual = Limits()
    per_link = properties.number("MaximumParallelMigrationsPerLink")
    return Limits(
        per_node=max(1, properties.number("MaximumParallelMigrations", usual.per_node)),
        per_link=per_link or None,
    )
