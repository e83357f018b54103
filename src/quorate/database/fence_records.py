"""How nodes are switched off, and which were lately.

The options of a fence agent hold passwords. They lie in the private namespace, which no registry, property or HTTP call
reads, and are shown by name only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self, TypeVar

from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonValue
from quorate.database import keys
from quorate.database.contract import Store
from quorate.database.documents import Document, Fields, damaged, parse_document, write_document
from quorate.database.events import EventLog
from quorate.database.plan import Plan, commit_until_done

_A_FENCE: Final = "a node's fence agents"
_A_HISTORY: Final = "the list of fenced nodes"
DEFAULT_TIMEOUT: Final = 20.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FenceAgent:
    """One agent of a node: the program's name, what it is told, how the node is put off, and how long it may take."""

    agent: str
    options: Mapping[str, str] = field(default_factory=dict)
    action: str = "off"
    """"off", or "reboot", which is off for a moment."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds."""

    def to_json(self) -> Document:
        """Write it, with its secrets."""
        return {"agent": self.agent, "options": dict(self.options), "action": self.action, "timeout": self.timeout}

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> Self:
        """Read what ``to_json`` wrote. Raises FaultError when it is damaged."""
        fields = Fields(_A_FENCE, value)
        options = fields.object_("options")
        if not all(isinstance(option, str) for option in options.values()):
            raise damaged(_A_FENCE, "an option is no text")
        return cls(
            agent=fields.text("agent"),
            options={name: str(option) for name, option in options.items()},
            action=fields.text("action"),
            timeout=fields.duration("timeout"),
        )


@dataclass(frozen=True, slots=True)
class FenceRecord:
    """The agents of a node, in the order in which they are tried."""

    agents: tuple[FenceAgent, ...] = ()
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        return write_document(self.VERSION, {"agents": [agent.to_json() for agent in self.agents]}, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields(_A_FENCE, parse_document(data, cls.VERSION, _A_FENCE))
        agents = tuple(FenceAgent.from_json(value) for value in fields.objects("agents"))
        return cls(agents, fields.rest())


@dataclass(frozen=True, slots=True)
class FenceHistory:
    """Which nodes were given to their agents, and when: (node, seconds of the cluster's time)."""

    entries: tuple[tuple[NodeId, float], ...] = ()
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        entries: list[JsonValue] = [{"node": node, "at": at} for node, at in self.entries]
        return write_document(self.VERSION, {"entries": entries}, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields(_A_HISTORY, parse_document(data, cls.VERSION, _A_HISTORY))
        entries = []
        for value in fields.objects("entries"):
            entry = Fields(_A_HISTORY, value)
            entries.append((NodeId(entry.text("node")), entry.duration("at")))
        return cls(tuple(entries), fields.rest())


class Fences:
    """Reading and changing them. Every change is one transaction, with the events that tell of it."""

    def __init__(self, store: Store, log: EventLog) -> None:
        """Work on this store."""
        self._store = store
        self._log = log

    async def of(self, node: NodeId) -> tuple[FenceAgent, ...]:
        """The agents of a node, secrets included."""
        record = await self._store.get(keys.fence(node))
        return () if record is None else FenceRecord.decode(record.value).agents

    async def all(self) -> Mapping[NodeId, tuple[FenceAgent, ...]]:
        """The agents of every node that has some."""
        records = (await self._store.range(keys.FENCES)).records
        return {NodeId(r.key.removeprefix(keys.FENCES)): FenceRecord.decode(r.value).agents for r in records}

    async def change(
        self,
        node: NodeId,
        change: Callable[[tuple[FenceAgent, ...]], tuple[FenceAgent, ...]],
        events: Sequence[EventRecord] = (),
    ) -> None:
        """Change the agents of a node; ``change`` may raise, and may be called more than once."""

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            there = await self._store.get(keys.fence(node))
            known = FenceRecord() if there is None else FenceRecord.decode(there.value)
            agents = change(known.agents)
            if there is None:
                planned.create(keys.fence(node), FenceRecord(agents).encode())
            elif agents:
                planned.replace(there, FenceRecord(agents, known.extra).encode())
            else:
                planned.delete(there)
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def note(self, decide: Callable[[FenceHistory], tuple[FenceHistory | None, T]]) -> T:
        """Decide by the history, and note what was decided in the same transaction; None: nothing is to be noted.

        ``decide`` may be called more than once; what it answered last counts.
        """

        async def plan() -> tuple[Plan, T]:
            planned = Plan()
            there = await self._store.get(keys.FENCED)
            known = FenceHistory() if there is None else FenceHistory.decode(there.value)
            history, answer = decide(known)
            if history is not None and there is None:
                planned.create(keys.FENCED, history.encode())
            elif history is not None and there is not None:
                planned.replace(there, history.encode())
            return planned, answer

        _, answer = await commit_until_done(self._store, plan)
        return answer
