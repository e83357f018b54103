"""What groups wait for when the cluster starts them."""

import pytest

from quorate.clusapi.dependencies import OneOf, every
from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import GroupId, GroupSetId, ResourceId
from quorate.cluster.group_order import GroupNeeds, GroupOrder, GroupSet, ReadySetting

WEB, APP, DB, CACHE = (GroupId(name) for name in ("web", "app", "db", "cache"))
FRONT, BACK = GroupSetId("front"), GroupSetId("back")
NAMES = {group: f"the {group}" for group in (WEB, APP, DB, CACHE)}


def needs(*ids: str) -> GroupNeeds:
    return GroupNeeds(every(map(ResourceId, ids)))


def waits(order: GroupOrder, group: GroupId, *online: GroupId) -> str:
    return order.waits_for(group, lambda id_: id_ in online, lambda one: one.is_ready(lambda id_: id_ in online))


def test_a_group_waits_for_every_group_that_it_needs() -> None:
    order = GroupOrder(needs={WEB: needs(APP, DB)}, names=NAMES)
    assert waits(order, WEB) == 'it waits for "the app", "the db" to be online'
    assert waits(order, WEB, APP) == 'it waits for "the db" to be online'
    assert waits(order, WEB, APP, DB) == ""
    assert waits(order, DB) == ""


def test_one_of_several_is_enough_where_they_are_alternatives() -> None:
    order = GroupOrder(needs={WEB: GroupNeeds(OneOf((ResourceId(APP), ResourceId(DB))))}, names=NAMES)
    assert waits(order, WEB)
    assert waits(order, WEB, DB) == ""


def test_what_is_not_there_any_more_is_not_waited_for() -> None:
    order = GroupOrder(needs={WEB: GroupNeeds(every([ResourceId("gone")]), (GroupSetId("gone"),))}, names=NAMES)
    assert waits(order, WEB) == ""


def test_the_groups_of_a_set_wait_for_the_set_that_it_needs() -> None:
    sets = {
        FRONT: GroupSet(FRONT, "Front", (WEB,), every([ResourceId(BACK)])),
        BACK: GroupSet(BACK, "Back", (APP, DB)),
    }
    order = GroupOrder(sets, names=NAMES)
    assert waits(order, WEB, APP) == 'it waits for the group set "Back" to be ready'
    assert waits(order, WEB, APP, DB) == ""
    assert waits(order, APP) == ""  # what is in a set does not wait for it


def test_a_group_that_is_in_no_set_can_wait_for_one() -> None:
    order = GroupOrder({BACK: GroupSet(BACK, "Back", (DB,))}, {WEB: GroupNeeds(sets=(BACK,))}, NAMES)
    assert waits(order, WEB) == 'it waits for the group set "Back" to be ready'
    assert waits(order, WEB, DB) == ""


@pytest.mark.parametrize(("count", "online", "ready"), [(1, 1, True), (2, 1, False), (0, 0, True), (9, 2, True)])
def test_as_many_groups_as_ready_count_says_make_a_set_ready(count: int, online: int, ready: bool) -> None:
    one = GroupSet(BACK, "Back", (APP, DB), ready_count=count)
    assert one.is_ready(lambda id_: id_ in (APP, DB)[:online]) is ready


def test_an_empty_set_is_ready_and_only_the_setting_delay_waits_longer() -> None:
    assert GroupSet(BACK, "Back").is_ready(lambda _: False)
    assert GroupSet(BACK, "Back", ready_setting=ReadySetting.DELAY, ready_delay=20).delay == 20
    assert GroupSet(BACK, "Back", ready_setting=ReadySetting.ONLINE, ready_delay=20).delay == 0


@pytest.mark.parametrize(
    "order",
    [
        GroupOrder(needs={WEB: needs(WEB)}, names=NAMES),
        GroupOrder(needs={WEB: needs(APP), APP: needs(DB), DB: needs(WEB)}, names=NAMES),
        GroupOrder({BACK: GroupSet(BACK, "Back", (), every([ResourceId(BACK)]))}, names=NAMES),
        GroupOrder({BACK: GroupSet(BACK, "Back", (DB,))}, {DB: GroupNeeds(sets=(BACK,))}, NAMES),
        GroupOrder(
            {
                FRONT: GroupSet(FRONT, "Front", (WEB,), every([ResourceId(BACK)])),
                BACK: GroupSet(BACK, "Back", (DB,)),
            },
            {DB: needs(WEB)},
            NAMES,
        ),
    ],
)
def test_what_would_wait_for_itself_is_refused(order: GroupOrder) -> None:
    with pytest.raises(CallerError) as caught:
        order.check()
    assert caught.value.status == 1059
    assert "→" in caught.value.sentence


def test_a_long_line_is_no_circle() -> None:
    sets = {
        FRONT: GroupSet(FRONT, "Front", (WEB, CACHE), every([ResourceId(BACK)])),
        BACK: GroupSet(BACK, "Back", (APP, DB)),
    }
    GroupOrder(sets, {WEB: needs(CACHE), APP: needs(DB)}, NAMES).check()
