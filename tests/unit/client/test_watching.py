"""Following a migration when the nodes do not tell how it goes."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from quorate.client import migration, watching
from quorate.client.asynchronous import AsyncClient
from quorate.client.blocking import BlockingClient
from quorate.client.migration import Migration
from quorate.client.watching import MigrationWatch
from quorate.client.wire import broken
from quorate.clusapi.errors import FaultError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState

Part = tuple[str, JsonObject]
COPYING = ("progress", {**MigrationProgress(MigrationState.DATA_TRANSFER, 40).to_json(), "node": "node1"})
DONE = ("progress", {**MigrationProgress(MigrationState.NO_MIGRATION, 100).to_json(), "node": "node2"})


class Scripted(BlockingClient):
    """Each stream gives what is next in the script; after its end streams are empty."""

    def __init__(self, *streams: list[Part | FaultError]) -> None:
        super().__init__(())
        self._streams = iter(streams)

    def stream(self, target: str) -> Iterator[Part]:
        for part in next(self._streams, []):
            if isinstance(part, FaultError):
                raise part
            yield part


class EmptyStreams(AsyncClient):
    async def stream(self, target: str) -> AsyncIterator[Part]:
        nothing: tuple[Part, ...] = ()
        for part in nothing:
            yield part


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (watching, migration):
        monkeypatch.setattr(module, "RETRY_AFTER", 0.01)


def test_streams_that_end_without_news_are_not_followed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (watching, migration):
        monkeypatch.setattr(module, "PATIENCE", 0.05)
    with pytest.raises(FaultError, match="may still go on"):
        list(MigrationWatch(Scripted(), "web1"))
    with pytest.raises(FaultError, match="may still go on"):
        asyncio.run(Migration(EmptyStreams(()), "web1").result())


def test_a_stream_that_breaks_is_taken_up_again() -> None:
    watch = MigrationWatch(Scripted([COPYING, broken("gone")], [COPYING], [DONE]), "web1")
    assert [progress.percent for progress in watch] == [40, 40, 100]
    assert watch.result is not None
    assert (watch.result.ok, watch.result.node) == (True, "node2")
