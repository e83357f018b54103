"""Scenario files: read and written, and what a person hears who has mistyped something."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.errors import CallerError
from quorate.migration import incoming, outgoing
from quorate.simulator import steps as s
from quorate.simulator.scenario_text import Detail, Scenario, parse, unparse, with_expected
from quorate.simulator.setup import GIB, NodeSetup, Setup, VmSetup
from quorate.simulator.step_forms import ACTION_FORMS, read_action, words

HEAD = """\
# What it is about.
nodes node1..node3 memory 8G
vms vm1..vm4 on node1,node2 memory 2G dirty 50MB/s working-set 256M
set MaximumParallelMigrations 2

at 5: migrate vm1 to node2
when vm1 is giving, 0.1 later: cut migration node1 from node2 for 5
"""


def test_a_person_reads_it_and_so_does_the_simulator() -> None:
    scenario = parse(HEAD + "----\nwhat comes out\n")
    assert scenario.title == "What it is about."
    assert [node.name for node in scenario.setup.nodes] == ["node1", "node2", "node3"]
    assert [(vm.name, vm.on) for vm in scenario.setup.vms] == [
        ("vm1", "node1"),
        ("vm2", "node2"),
        ("vm3", "node1"),
        ("vm4", "node2"),
    ]
    assert scenario.setup.vms[0] == VmSetup("vm1", "node1", 2 * GIB, dirty=5e7, working_set=256 << 20)
    assert scenario.setup.properties == {"MaximumParallelMigrations": 2}
    assert scenario.steps == (
        s.Step(s.At(5.0), s.Migrate("vm1", "node2")),
        s.Step(s.On("vm1", "giving", after=0.1), s.Cut("migration", "node1", "node2", seconds=5.0)),
    )
    assert (scenario.until, scenario.seed) == (35.0, 1)
    assert scenario.expected == ("what comes out",)
    assert parse(unparse(scenario)) == scenario


def test_what_is_expected_is_replaced_and_what_people_wrote_stays() -> None:
    assert with_expected(HEAD + "# why\n----\nold\n", ["new", "= vm1"]) == HEAD + "# why\n----\nnew\n= vm1\n"
    assert with_expected(HEAD, ["new"]) == HEAD + "----\nnew\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("at 5: migrat vm1", "Perhaps: migrate VM [to NODE]"),
        ("at soon: migrate vm1", "“soon” is no time"),
        ("at 5: migrate vm7", "there is no virtual machine “vm7”. There is: vm1..vm4"),
        ("at 5: drain node9", "there is no node “node9”. There is: node1..node3"),
        ("at 5: migrate vm1 node2", "“node2” is too much. It is written: migrate VM [to NODE]"),
        ("at 5: cut internet node1", "“internet” is no NETWORK: it is one of cluster, storage, migration, all"),
        ("at 5: freeze daemon node1 for ages", "“ages” is no SECONDS"),
        ("at 5: dirty vm1 50", "“50” is no RATE: write it as 50MB/s or 10Gb/s"),
        ("at 5: start", "the VM is missing. It is written: start VM"),
        ("at 5:", "a step is written: at SECONDS: …"),
        ("when vm1 is gving: cancel vm1", "no destination of a migration is ever “gving”"),
        ("when vm1 is telling at the destination: cancel vm1", "no destination of a migration is ever “telling”"),
        ("when vm1 giving: cancel vm1", "a step that waits for a migration is written: when VM is PHASE"),
        ("vm vm5 memory 1G", "where “on” belongs, there is “memory”"),
        ("vm vm5 on node9", "there is no node “node9”"),
        ("vm vm5 on node1 memory lots", "“lots” is no SIZE: write it as 512M or 2G"),
        ("vm vm1 on node2", "there is a “vm1” already"),
        ("nodes", "the names are missing"),
        ("nodes node9..node4", "a range goes up"),
        ("seed many", "“many” is no number"),
        ("show all", "it is written: show decisions or show outcome"),
        ("reboot node1", "“reboot” begins no line of a scenario"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_would_help(line: str, told: str) -> None:
    with pytest.raises(CallerError) as caught:
        parse(f"{HEAD}{line}\n----\n", "some.txt")
    assert caught.value.sentence.startswith("some.txt, line 8: ")
    assert told in caught.value.sentence


def test_it_cannot_end_before_its_last_step_nor_be_without_nodes() -> None:
    with pytest.raises(CallerError, match="before its last step at 5"):
        parse(HEAD + "until 2\n")
    with pytest.raises(CallerError, match="it has no nodes"):
        parse("until 2\n")


# --- whatever can be said can be written and read ------------------------------------------------------------------

NODES = ("node1", "node2", "node3", "left-7", "R2.d2")
VMS = ("vm1", "vm2", "web_1")
SECONDS = st.floats(0, 1e6, allow_nan=False)
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "node": st.sampled_from(NODES),
    "other": st.sampled_from([None, *NODES]),
    "to": st.sampled_from([None, *NODES]),
    "nodes": st.lists(st.sampled_from(NODES), unique=True).map(tuple),
    "vm": st.sampled_from(VMS),
    "name": st.sampled_from(["QuarantineThreshold", "SameSubnetDelay"]),
    "value": st.integers(0, 2**32 - 1),
    "seconds": st.none() | SECONDS,
    "how": st.sampled_from(["save", "shut down", "turn off"]),
    "failback": st.sampled_from(["none", "immediate", "policy"]),
    "network": st.sampled_from(["cluster", "storage", "migration", "all"]),
    "mode": st.sampled_from(["lost", "silent", "mute", "slow", "deaf"]),
    "times": st.integers(1, 9),
    "loss": st.floats(0, 1),
    "duplication": st.floats(0, 1),
    "delay": SECONDS,
    "rate": st.floats(0, 1e12),
    "ppm": st.floats(-1e6, 1e6),
    "one_way": st.booleans(),
    "remain": st.booleans(),
    "retry": st.booleans(),
    "memory": st.integers(0, 1 << 50),
}


def actions(make: type) -> st.SearchStrategy[Any]:
    def strategy(field: "dataclasses.Field[Any]") -> st.SearchStrategy[Any]:
        if make is s.KillQemu and field.name == "node":
            return st.sampled_from([None, *NODES])
        if make is s.FreezeQemu and field.name == "node":
            return st.sampled_from([None, *NODES])
        return _FIELDS[field.name]

    return st.builds(make, **{field.name: strategy(field) for field in dataclasses.fields(make)})


ACTIONS = st.one_of(*(actions(make) for make in (*s.COMMANDS, *s.FAULTS)))
PLACES = [("source", phase.value) for phase in outgoing.Phase] + [
    ("destination", phase.value) for phase in incoming.Phase
]
WHENS: st.SearchStrategy[s.When] = st.one_of(
    st.builds(s.At, SECONDS),
    st.builds(
        lambda vm, place, after, nth: s.On(vm, place[1], place[0], after, nth),
        st.sampled_from(VMS),
        st.sampled_from(PLACES),
        SECONDS,
        st.integers(1, 5),
    ),
)


def test_each_command_and_each_fault_has_one_form() -> None:
    assert [one.make for one in ACTION_FORMS] == [*s.COMMANDS, *s.FAULTS]


@given(ACTIONS)
def test_a_command_or_fault_is_read_as_it_was_written(action: s.Action) -> None:
    assert read_action(words(action)) == action


VM_SETUPS = st.builds(
    VmSetup,
    st.just(""),
    st.sampled_from(NODES),
    st.integers(1, 1 << 45),
    st.none() | st.integers(0, 1 << 45),
    st.floats(0, 1e12),
    st.integers(0, 1 << 45),
    st.booleans(),
    st.integers(0, 4000),
    st.none() | st.lists(st.sampled_from(NODES), unique=True, min_size=1).map(tuple),
    st.lists(st.sampled_from(NODES), unique=True).map(tuple),
    st.lists(st.sampled_from(["web", "db"]), unique=True).map(tuple),
    st.booleans(),
    st.booleans(),
)


@given(
    st.lists(VM_SETUPS, min_size=3, max_size=3),
    st.lists(st.builds(s.Step, WHENS, ACTIONS), max_size=4),
    st.dictionaries(st.sampled_from(["QuarantineThreshold", "SameSubnetDelay"]), st.integers(0, 99)),
    st.sampled_from(Detail),
    st.integers(0, 2**40),
)
def test_a_scenario_is_read_as_it_was_written(
    vms: list[VmSetup], steps: list[s.Step], properties: dict[str, int], detail: Detail, seed: int
) -> None:
    named = tuple(dataclasses.replace(vm, name=name) for vm, name in zip(vms, VMS, strict=True))
    nodes = tuple(NodeSetup(name, drift=index * 1.5) for index, name in enumerate(NODES))
    scenario = Scenario("Why.", Setup(nodes, named, properties), tuple(steps), seed, 1e7, detail, ("a", "= b"))
    assert parse(unparse(scenario)) == scenario
