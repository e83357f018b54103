"""Which policy counts, and what a virtual machine says of its own limits."""

import pytest

from quorate.clusapi.errors import CallerError
from quorate.clusapi.migration_input import MigrationInput, pack_destination, split_destination
from quorate.clusapi.property_lists import pack_sz
from quorate.migration.policy import DEFAULT_POLICY, POLICIES, find_policy, policy_in_effect


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (("must-move", "gentle", "never-postcopy"), "must-move"),
        (("", "gentle", "never-postcopy"), "gentle"),
        (("", "", "never-postcopy"), "never-postcopy"),
        (("", "", ""), "default"),
        ((), "default"),
    ],
)
def test_the_first_that_is_named_counts(names: tuple[str, ...], counts: str) -> None:
    assert policy_in_effect(names) == POLICIES[counts]


def test_the_gap_limit_of_the_machine_stands_in_place_of_the_policys() -> None:
    assert policy_in_effect(("gentle",), gap_limit_ms=1500).gap_limit == 1.5
    assert policy_in_effect(("default",), gap_limit_ms=50).gap_limit == 0.05


def test_of_two_throttle_limits_the_lower_one_counts() -> None:
    assert policy_in_effect(("default",), throttle_limit=40).throttle_most == 40
    assert policy_in_effect(("default",), throttle_limit=99).throttle_most == DEFAULT_POLICY.throttle_limit
    assert policy_in_effect(("gentle",), throttle_limit=40).throttle_most == 0


def test_a_name_that_there_is_not_is_87_with_those_that_there_are() -> None:
    for name in ("brutal", "Default", " default", ""):
        with pytest.raises(CallerError, match="they are gentle, default, must-move, never-postcopy") as caught:
            find_policy(name)
        assert caught.value.status == 87


def test_only_who_has_consented_is_paused() -> None:
    assert [policy.name for policy in POLICIES.values() if policy.pause_limit] == ["must-move"]
    assert [policy.name for policy in POLICIES.values() if not policy.post_copy] == ["gentle", "never-postcopy"]


def test_a_call_without_a_policy_is_packed_as_the_contract_has_it() -> None:
    assert pack_destination(None) is None
    assert pack_destination("node2") == pack_sz("node2")
    for node in ("node2", ""):
        packed = pack_destination(node, "gentle")
        assert packed is not None
        assert split_destination(packed) == MigrationInput(pack_sz(node), "gentle")
        for policy in ("gentle", ""):
            packed = pack_destination(node, policy, 200)
            assert packed is not None
            assert split_destination(packed) == MigrationInput(pack_sz(node), policy, "200")
    assert split_destination(pack_sz("node2")) == MigrationInput(pack_sz("node2"))
