"""Who holds what: followed from version to version it is what a look at all records would find."""

import random

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.rows import SMALL, Rows
from quorate.database.holders import Holders
from quorate.database.records import Ownership, Versioned

NODES = [NodeId(str(number)) for number in range(1, 6)]


def test_followed_from_version_to_version_it_is_what_a_look_at_all_records_would_find() -> None:
    dice = random.Random(11)

    def record() -> Versioned[Ownership]:
        return Versioned(Ownership(dice.choice(NODES), 1), dice.randrange(1000))

    versions = [Rows({GroupId(f"g{number}"): record() for number in range(40)})]
    for _ in range(SMALL + 50):
        before = versions[-1]
        if dice.random() < 0.05 and len(before) > 1:
            versions.append(before.without(dice.choice(list(before))))
        else:
            versions.append(before.changed({GroupId(f"g{dice.randrange(60)}"): record()}))
    holders = Holders()
    for version in (*versions, *(dice.choice(versions) for _ in range(50))):
        for node in NODES:
            expected = {group for group, found in version.items() if found.value.holder == node}
            assert holders.groups_of(node, version) == expected
    assert holders.groups_of(NodeId("99"), versions[-1]) == set()
