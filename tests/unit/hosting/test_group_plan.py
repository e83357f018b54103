from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.identity import ResourceId
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.hosting.group_plan import Goal, Wish, is_wanted_online, plan, with_dependents, with_providers

DISK, NAME, APP = ResourceId("disk"), ResourceId("name"), ResourceId("app")
DEPENDENCIES = {DISK: (), NAME: (DISK,), APP: (NAME, DISK)}
R = ResourceState
TO_ONLINE, TO_OFFLINE = Wish(Goal.ONLINE), Wish(Goal.OFFLINE)


def states(disk: R, name: R, app: R) -> dict[ResourceId, R]:
    return {DISK: disk, NAME: name, APP: app}


def test_providers_come_online_first() -> None:
    wishes = dict.fromkeys(DEPENDENCIES, TO_ONLINE)
    assert plan(states(R.OFFLINE, R.OFFLINE, R.OFFLINE), DEPENDENCIES, wishes).act == (DISK,)
    assert plan(states(R.ONLINE_PENDING, R.OFFLINE, R.OFFLINE), DEPENDENCIES, wishes).act == ()
    assert plan(states(R.ONLINE, R.OFFLINE, R.OFFLINE), DEPENDENCIES, wishes).act == (NAME,)
    assert plan(states(R.ONLINE, R.ONLINE, R.OFFLINE), DEPENDENCIES, wishes).act == (APP,)


def test_dependents_go_offline_first() -> None:
    wishes = dict.fromkeys(DEPENDENCIES, TO_OFFLINE)
    assert plan(states(R.ONLINE, R.ONLINE, R.ONLINE), DEPENDENCIES, wishes).act == (APP,)
    assert plan(states(R.ONLINE, R.ONLINE, R.OFFLINE_PENDING), DEPENDENCIES, wishes).act == ()
    assert plan(states(R.ONLINE, R.ONLINE, R.OFFLINE), DEPENDENCIES, wishes).act == (NAME,)
    assert plan(states(R.ONLINE, R.FAILED, R.OFFLINE), DEPENDENCIES, wishes).act == (DISK, NAME)


def test_what_depends_on_a_failed_provider_is_not_started() -> None:
    first = plan(states(R.FAILED, R.OFFLINE, R.OFFLINE), DEPENDENCIES, {NAME: TO_ONLINE, APP: TO_ONLINE})
    assert first.ended[NAME].status == Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED
    second = plan(states(R.FAILED, R.OFFLINE, R.OFFLINE), DEPENDENCIES, first.wishes)
    assert {**first.ended, **second.ended}[APP].status == Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED
    assert not second.wishes


def test_a_wish_has_one_try() -> None:
    tried = Wish(Goal.ONLINE, started=True)
    assert plan({DISK: R.FAILED}, {DISK: ()}, {DISK: tried}).ended[DISK].status == Status.ERROR_RESOURCE_FAILED
    stayed = plan({DISK: R.ONLINE}, {DISK: ()}, {DISK: Wish(Goal.OFFLINE, started=True)})
    assert stayed.ended[DISK].status == Status.ERROR_CLUSTER_RESOURCE_VETOED_CALL


def test_force_does_not_wait_for_a_pending_online() -> None:
    assert plan({DISK: R.ONLINE_PENDING}, {DISK: ()}, {DISK: TO_OFFLINE}).act == ()
    assert plan({DISK: R.ONLINE_PENDING}, {DISK: ()}, {DISK: Wish(Goal.OFFLINE, forced=True)}).act == (DISK,)


def test_closures_and_purposes() -> None:
    assert set(with_providers([APP], DEPENDENCIES)) == {DISK, NAME, APP}
    assert set(with_dependents([DISK], DEPENDENCIES)) == {DISK, NAME, APP}
    online = states(R.ONLINE, R.ONLINE, R.ONLINE)
    assert not is_wanted_online(online, DEPENDENCIES, [APP])
    assert is_wanted_online({**online, ResourceId("other"): R.FAILED}, DEPENDENCIES, [APP])


@given(
    st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=6),
    st.lists(st.sampled_from([R.OFFLINE, R.FAILED, R.ONLINE]), min_size=6, max_size=6),
    st.sampled_from(list(Goal)),
)
def test_any_group_reaches_its_goal_in_order(edges: list[set[int]], found: list[R], goal: Goal) -> None:
    names = [ResourceId(str(index)) for index in range(len(edges))]
    dependencies = {names[i]: tuple(names[j] for j in sorted(below) if j < i) for i, below in enumerate(edges)}
    now = dict(zip(names, found, strict=False))
    wishes = dict.fromkeys(names, Wish(goal))
    reached = R.ONLINE if goal is Goal.ONLINE else R.OFFLINE
    while wishes:
        step = plan(now, dependencies, wishes)
        wishes = dict(step.wishes)
        assert step.act or step.ended
        for name in step.act:
            if goal is Goal.ONLINE:
                assert all(now[provider] == R.ONLINE for provider in dependencies[name])
            else:
                dependents = [other for other, below in dependencies.items() if name in below]
                assert all(now[other] != R.ONLINE for other in dependents)
        now.update(dict.fromkeys(step.act, reached))
    assert set(now.values()) == {reached}
