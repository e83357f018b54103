"""Operations on fencing. What an agent is told goes into the private namespace, and is never read out again."""

import asyncio
from typing import Final

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import Compare
from quorate.database.fence_records import DEFAULT_TIMEOUT, FenceAgent
from quorate.engine.fence_agents import Answer, FenceAgents
from quorate.server import lookup
from quorate.server.call import Call, done

MOST_AGENTS: Final = 4
_WATCHED: Final = 2.5
"""Pauses between two renewals for which a node is watched that is said to be off, and is not silent for long yet."""
_POWER: Final = {Answer.ON: "on", Answer.OFF: "off"}

_Agents = tuple[FenceAgent, ...]


async def set_agent(call: Call) -> Values:
    """Add an agent, or put one in another's place."""
    info, level = lookup.node(call.snapshot, call.inputs.text("node")), call.inputs.optional_number("level")
    timeout = call.inputs.optional_number("timeout")
    agent = FenceAgent(
        agent=call.inputs.text("agent"),
        options=_texts(call.inputs.json("options")),
        action=call.inputs.optional_text("action") or "off",
        timeout=DEFAULT_TIMEOUT if timeout is None else float(timeout),
    )
    call.services.fence_agents.check(agent)

    def change(agents: _Agents) -> _Agents:
        place = 1 if level is None else level
        most = min(MOST_AGENTS, len(agents) + 1)
        if not 1 <= place <= most:
            raise CallerError(
                Status.ERROR_INVALID_PARAMETER,
                f"level: {place} is not 1 to {most}: {info.name} has {len(agents)} agents, {MOST_AGENTS} at most",
            )
        return (*agents[: place - 1], agent, *agents[place:])

    names = ", ".join(sorted(agent.options)) or "no options"
    sentence = f"{info.name} is switched off by {agent.agent} ({names}), level {1 if level is None else level}"
    event = call.event(EventKind.NODE_PROPERTY, info.id, info.name, sentence)
    await call.services.database.fences.change(info.id, change, (event,))
    return done()


async def remove_agents(call: Call) -> Values:
    """Forget one agent, or all."""
    info, level = lookup.node(call.snapshot, call.inputs.text("node")), call.inputs.optional_number("level")

    def change(agents: _Agents) -> _Agents:
        if not agents or (level is not None and not 1 <= level <= len(agents)):
            which = "fence agent" if level is None else f"fence agent of level {level}"
            raise CallerError(Status.ERROR_NOT_FOUND, f"{info.name} has no {which}")
        return () if level is None else (*agents[: level - 1], *agents[level:])

    which = "any fence agent" if level is None else f"the fence agent of level {level}"
    event = call.event(EventKind.NODE_PROPERTY, info.id, info.name, f"{info.name} is not switched off by {which} now")
    await call.services.database.fences.change(info.id, change, (event,))
    return done()


async def get_agents(call: Call) -> Values:
    """Tell of the agents what is no secret."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    agents = await call.services.database.fences.of(info.id)
    return Values({"agents": tuple(_described(level, agent) for level, agent in enumerate(agents, 1))})


async def test_agents(call: Call) -> Values:
    """Ask all agents at once; what each says is for a person to judge."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    agents = await call.services.database.fences.of(info.id)
    if not agents:
        raise RefusalError(
            Status.ERROR_NOT_FOUND, f"{info.name} has no fence agent: give it one with quorate node fence {info.name}"
        )
    results = await asyncio.gather(
        *(_test(call.services.fence_agents, level, agent) for level, agent in enumerate(agents, 1))
    )
    return Values({"results": tuple(results), "tested_on": call.services.node_name})


async def confirm_off(call: Call) -> Values:
    """End a node's lease because a person says that the node is off; one that renews it meanwhile is not."""
    info = lookup.node(call.snapshot, call.inputs.text("node"))
    if info.id == call.services.node_id:
        raise RefusalError(Status.ERROR_CLUSTER_NODE_UP, f"{info.name} is the node that answers you: it is not off")
    lease = await call.services.database.get_lease(info.id)
    if lease is None or lease.value.ended:
        return done()  # nothing of it counts any more
    if call.services.silent_lease(info.id) != lease.revision:  # not silent for long, or it has come back a moment ago
        await asyncio.sleep(_WATCHED * call.snapshot.cluster.properties.number("SameSubnetDelay", 1000) / 1000)
    word = f"{call.context.actor} says that {info.name} is switched off"
    down = f"{info.name} is down: {word}"
    events = (
        call.event(EventKind.NODE_FENCED, info.id, info.name, word),
        call.event(EventKind.NODE_STATE, info.id, info.name, down, after=NodeState.DOWN.name.lower()),
    )
    if not await call.services.database.end_lease(info.id, lease, events, provided=await _as_member(call)):
        raise RefusalError(
            Status.ERROR_CLUSTER_NODE_UP,
            f"{info.name} has renewed its lease while it was watched: it is not off. Switch it off, and say so again",
        )
    return done()


async def _as_member(call: Call) -> tuple[Compare, ...]:
    """This node is in the cluster: one that was evicted ends nobody's lease. Raises RefusalError 5052."""
    me = (await call.services.database.snapshot()).nodes.get(call.services.node_id)
    if me is None:
        sentence = f"{call.services.node_name} is in the cluster no more: ask a node that is"
        raise RefusalError(Status.ERROR_CLUSTER_NODE_NOT_MEMBER, sentence)
    return (Compare(keys.registry_key(keys.node_path(me.id)), me.revision),)


async def _test(agents: FenceAgents, level: int, agent: FenceAgent) -> JsonObject:
    said = await agents.monitor(agent)
    works, power = said.answer is Answer.DONE, "unknown"
    if works:
        said = await agents.status(agent)
        works, power = said.answer in _POWER, _POWER.get(said.answer, "unknown")
    return {"level": level, "agent": agent.agent, "works": works, "power": power, "sentence": said.sentence}


def _described(level: int, agent: FenceAgent) -> JsonObject:
    return {
        "level": level,
        "agent": agent.agent,
        "action": agent.action,
        "timeout": int(agent.timeout),
        "options": sorted(agent.options),
    }


def _texts(options: JsonObject) -> dict[str, str]:
    for name, value in options.items():
        if not isinstance(value, str):
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f"options: {name} is {value!r}, not a text")
    return {name: str(value) for name, value in options.items()}
