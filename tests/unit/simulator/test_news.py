"""What calm worlds do with news: everybody sees all of it in order, and it is kept no longer than that takes."""

import pytest

from quorate.simulator import news
from quorate.simulator.inventory import Seeded
from quorate.simulator.news import CalmView
from quorate.simulator.rehearsal import RehearsedWorld
from quorate.simulator.setup import GIB, NodeSetup, Setup, VmSetup


def test_news_are_kept_until_everybody_who_lives_has_seen_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "MANY", 20)
    nodes = tuple(NodeSetup(f"n{number}", 16 * GIB) for number in range(1, 4))
    vms = tuple(VmSetup(f"v{number}", f"n{number % 3 + 1}", GIB) for number in range(6))
    world = RehearsedWorld(Seeded(Setup(nodes, vms, {}, is_up=True), (), (), ()), seed=5)
    try:
        world.news._check_at = news.MANY
        world.come_up()
        world.kernel.run(world.kernel.now + 30)
        daemons = [machine.daemon for machine in world.machines.values() if machine.daemon is not None]
        views = [daemon.view for daemon in daemons]
        assert len(views) == 3 and world.news.end > 90, "each renews its lease once a second"
        assert len(world.news.commits) < 60, "what all have seen is forgotten"
        world.kernel.run(world.kernel.now + 0.01)
        for view in views:
            assert isinstance(view, CalmView) and view.is_settled
            assert view.revision == world.store.data.revision
            for node, lease in view.snapshot.leases.items():
                assert lease == world.store.lease(node)
    finally:
        world.end()
