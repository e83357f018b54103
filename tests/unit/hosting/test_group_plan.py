from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.dependencies import NO_DEPENDENCY, Dependency, Every, OneOf, every, is_met, resources_of
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.hosting.group_plan import Goal, Wish, is_wanted_online, plan, with_dependents, with_providers

DISK, NAME, APP = ResourceId("disk"), ResourceId("name"), ResourceId("app")
DEPENDENCIES: dict[ResourceId, Dependency] = {DISK: NO_DEPENDENCY, NAME: DISK, APP: every((NAME, DISK))}
ALONE: dict[ResourceId, Dependency] = {DISK: NO_DEPENDENCY}
EITHER: dict[ResourceId, Dependency] = {DISK: NO_DEPENDENCY, NAME: NO_DEPENDENCY, APP: OneOf((DISK, NAME))}
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
    assert plan({DISK: R.FAILED}, ALONE, {DISK: tried}).ended[DISK].status == Status.ERROR_RESOURCE_FAILED
    stayed = plan({DISK: R.ONLINE}, ALONE, {DISK: Wish(Goal.OFFLINE, started=True)})
    assert stayed.ended[DISK].status == Status.ERROR_CLUSTER_RESOURCE_VETOED_CALL


def test_force_does_not_wait_for_a_pending_online() -> None:
    assert plan({DISK: R.ONLINE_PENDING}, ALONE, {DISK: TO_OFFLINE}).act == ()
    assert plan({DISK: R.ONLINE_PENDING}, ALONE, {DISK: Wish(Goal.OFFLINE, forced=True)}).act == (DISK,)


def test_one_alternative_is_enough_to_come_online_and_to_stay() -> None:
    to_online = dict.fromkeys(EITHER, TO_ONLINE)
    assert plan(states(R.ONLINE_PENDING, R.ONLINE_PENDING, R.OFFLINE), EITHER, to_online).act == ()
    assert plan(states(R.ONLINE, R.ONLINE_PENDING, R.OFFLINE), EITHER, to_online).act == (APP,)
    one_failed = plan(states(R.FAILED, R.ONLINE_PENDING, R.OFFLINE), EITHER, {NAME: TO_ONLINE, APP: TO_ONLINE})
    assert APP in one_failed.wishes
    both_failed = plan(states(R.FAILED, R.FAILED, R.OFFLINE), EITHER, {APP: TO_ONLINE})
    assert both_failed.ended[APP].status == Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED
    up = states(R.ONLINE, R.ONLINE, R.ONLINE)
    assert with_dependents([DISK], up, EITHER) == (DISK,)
    assert plan(up, EITHER, {DISK: TO_OFFLINE}).act == (DISK,)
    assert set(with_dependents([DISK], states(R.ONLINE, R.OFFLINE, R.ONLINE), EITHER)) == {DISK, APP}
    assert set(with_dependents([DISK, NAME], up, EITHER)) == {DISK, NAME, APP}
    assert plan(up, EITHER, dict.fromkeys(EITHER, TO_OFFLINE)).act == (APP,)


def test_a_restart_waits_for_the_dependents_to_be_offline_and_brings_them_back() -> None:
    again = Wish(Goal.ONLINE, after_dependents=True)
    wishes = {NAME: TO_OFFLINE, APP: TO_OFFLINE, DISK: again}
    back = frozenset(DEPENDENCIES)
    first = plan(states(R.FAILED, R.ONLINE, R.ONLINE), DEPENDENCIES, wishes, back)
    assert (first.act, first.returning) == ((APP,), back)
    down = plan(states(R.FAILED, R.OFFLINE, R.OFFLINE), DEPENDENCIES, first.wishes, back)
    assert set(down.ended) == {NAME, APP}
    up = plan(states(R.FAILED, R.OFFLINE, R.OFFLINE), DEPENDENCIES, down.wishes, down.returning)
    assert (up.act, up.returning) == ((DISK,), frozenset({NAME, APP}))
    name = plan(states(R.ONLINE, R.OFFLINE, R.OFFLINE), DEPENDENCIES, {}, up.returning)
    assert (name.act, name.returning) == ((NAME,), frozenset({APP}))
    last = plan(states(R.ONLINE, R.ONLINE, R.OFFLINE), DEPENDENCIES, {}, name.returning)
    assert (last.act, last.returning) == ((APP,), frozenset())


def test_what_is_to_return_waits_for_its_provider_and_has_one_try() -> None:
    waiting = plan(states(R.FAILED, R.FAILED, R.OFFLINE), DEPENDENCIES, {}, frozenset({NAME}))
    assert (waiting.act, waiting.returning) == ((), frozenset({NAME}))
    tried = plan(states(R.ONLINE, R.FAILED, R.OFFLINE), DEPENDENCIES, {}, frozenset({NAME}))
    assert (tried.act, tried.returning) == ((NAME,), frozenset())
    leaving = plan(states(R.ONLINE, R.FAILED, R.OFFLINE), DEPENDENCIES, {DISK: TO_OFFLINE}, frozenset({NAME}))
    assert (leaving.act, leaving.returning) == ((DISK,), frozenset({NAME}))
    assert plan({DISK: R.OFFLINE}, ALONE, {}, frozenset({ResourceId("gone")})).returning == frozenset()


def test_closures_and_purposes() -> None:
    assert set(with_providers([APP], DEPENDENCIES)) == {DISK, NAME, APP}
    online = states(R.ONLINE, R.ONLINE, R.ONLINE)
    assert set(with_dependents([DISK], online, DEPENDENCIES)) == {DISK, NAME, APP}
    assert not is_wanted_online(online, DEPENDENCIES, [APP])
    assert is_wanted_online({**online, ResourceId("other"): R.FAILED}, DEPENDENCIES, [APP])


def expression(names: list[ResourceId], kinds: list[bool]) -> Dependency:
    """An expression over the names, every second level of it alternatives."""
    found: Dependency = NO_DEPENDENCY
    for name, alternative in zip(names, kinds, strict=False):
        joined = OneOf((found, name)) if alternative else Every((found, name))
        found = name if found == NO_DEPENDENCY else joined
    return found


@given(
    st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.lists(st.sampled_from([R.OFFLINE, R.FAILED, R.ONLINE]), min_size=6, max_size=6),
    st.sampled_from(list(Goal)),
)
def test_any_group_reaches_its_goal_in_order(
    edges: list[set[int]], kinds: list[bool], found: list[R], goal: Goal
) -> None:
    names = [ResourceId(str(index)) for index in range(len(edges))]
    dependencies = {
        names[i]: expression([names[j] for j in sorted(below) if j < i], kinds) for i, below in enumerate(edges)
    }
    now = dict(zip(names, found, strict=False))
    wishes = dict.fromkeys(names, Wish(goal))
    reached = R.ONLINE if goal is Goal.ONLINE else R.OFFLINE
    while wishes:
        step = plan(now, dependencies, wishes)
        wishes = dict(step.wishes)
        assert step.act or step.ended
        for name in step.act:
            if goal is Goal.ONLINE:
                assert is_met(dependencies[name], lambda item: now[item] == R.ONLINE)
            else:
                dependents = [other for other, below in dependencies.items() if name in resources_of(below)]
                assert all(now[other] != R.ONLINE for other in dependents)
        now.update(dict.fromkeys(step.act, reached))
    assert set(now.values()) == {reached}


@given(st.data())
def test_planning_comes_to_an_end_whatever_is_wished_and_found(data: st.DataObject) -> None:
    edges = data.draw(st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=6))
    kinds = data.draw(st.lists(st.booleans(), min_size=6, max_size=6))
    names = [ResourceId(str(index)) for index in range(len(edges))]
    dependencies = {
        names[i]: expression([names[j] for j in sorted(below) if j < i], kinds) for i, below in enumerate(edges)
    }
    found = [R.OFFLINE, R.FAILED, R.ONLINE, R.ONLINE_PENDING, R.OFFLINE_PENDING]
    now = {name: data.draw(st.sampled_from(found)) for name in names}
    some = st.sampled_from(names)
    wish = st.builds(Wish, st.sampled_from(list(Goal)), forced=st.booleans(), after_dependents=st.booleans())
    wishes = data.draw(st.dictionaries(some, wish))
    returning = data.draw(st.frozensets(some))
    for _ in range(100):
        step = plan(now, dependencies, wishes, returning)
        wishes, returning = dict(step.wishes), step.returning
        for name in step.act:
            coming = wishes[name].goal is Goal.ONLINE
            if coming:
                assert is_met(dependencies[name], lambda item: now[item] == R.ONLINE)
                assert name not in returning
            now[name] = R.ONLINE_PENDING if coming else R.OFFLINE_PENDING
        if not step.act and not step.ended:
            return
    raise AssertionError("planning goes round in a circle")


@given(
    st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.integers(0, 5),
)
def test_whatever_goes_offline_leaves_nothing_online_without_what_it_needs(
    edges: list[set[int]], kinds: list[bool], chosen: int
) -> None:
    names = [ResourceId(str(index)) for index in range(len(edges))]
    dependencies = {
        names[i]: expression([names[j] for j in sorted(below) if j < i], kinds) for i, below in enumerate(edges)
    }
    now = dict.fromkeys(names, R.ONLINE)
    target = names[chosen % len(names)]
    wishes = dict.fromkeys(with_dependents([target], now, dependencies), Wish(Goal.OFFLINE))
    while wishes:
        step = plan(now, dependencies, wishes)
        wishes = dict(step.wishes)
        assert step.act or step.ended
        assert all(outcome.status == Status.ERROR_SUCCESS for outcome in step.ended.values())
        now.update(dict.fromkeys(step.act, R.OFFLINE))
        for name, state in now.items():
            assert state == R.OFFLINE or is_met(dependencies[name], lambda item: now[item] == R.ONLINE)
    assert now[target] == R.OFFLINE
