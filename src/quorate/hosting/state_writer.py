"""Writes the states of a group's resources where they outlive the daemon, newest first and nothing twice."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.states import ResourceState
from quorate.hosting.contract import RunStates

_RETRY_AFTER: Final = 1.0  # seconds, when the database does not answer
_PASSING: Final = 0.05  # seconds for which a pending state may go unwritten: most are over by then

_log = logging.getLogger(__name__)


class StateWriter:
    """The writer of one group: changes that come while a write is under way go into the next one.

    A state that is pending is written a little later than one that stays.
    """

    def __init__(
        self, run_states: RunStates, group_id: GroupId, states: Callable[[], Mapping[ResourceId, ResourceState]]
    ) -> None:
        """Take where to write, and how to learn the newest states."""
        self._run_states = run_states
        self._group_id = group_id
        self._states = states
        self._writing = asyncio.Lock()
        self._news = asyncio.Event()
        self._written: Mapping[ResourceId, ResourceState] | None = None
        self._persistent: bool | None = None  # what has still to be written of it
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Answer whether everything is written, or was refused."""
        return self._task is None or self._task.done()

    def note(self, persistent_state: bool | None = None) -> None:
        """Write the states soon; ``persistent_state`` None leaves that as it is."""
        if persistent_state is not None:
            self._persistent = persistent_state
        self._news.set()
        if self.is_idle:
            self._task = asyncio.create_task(self._write_until_done(), name=f"states of group {self._group_id}")

    async def write(self, persistent_state: bool) -> None:
        """Write now. Raises what :meth:`RunStates.write_resource_states` raises."""
        self._persistent = persistent_state
        await self._write()

    async def close(self) -> None:
        """Stop writing: another node owns the group, or this one will read what is there."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait_idle(self) -> None:
        """Return when everything is written, or was refused."""
        while not self.is_idle:
            assert self._task is not None
            await asyncio.wait((self._task,))

    async def _write(self) -> None:
        async with self._writing:
            states, persistent = dict(self._states()), self._persistent
            if states == self._written and persistent is None:
                return
            await self._run_states.write_resource_states(self._group_id, states, persistent)
            self._written = states
            if self._persistent is persistent:
                self._persistent = None

    async def _wait_while_passing(self) -> None:
        """Let states that are only passed through go by: a start is then one write, and not one of each step."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PASSING):
                while self._persistent is None and any(state.is_pending for state in self._states().values()):
                    self._news.clear()
                    await self._news.wait()

    async def _write_until_done(self) -> None:
        while self._persistent is not None or self._states() != self._written:
            await self._wait_while_passing()
            try:
                await self._write()
            except FaultError as error:
                _log.warning("the states of group %s are not written yet: %s", self._group_id, error)
                await asyncio.sleep(_RETRY_AFTER)
            except ClusterError as error:
                _log.warning("the states of group %s are not written: %s", self._group_id, error)
                return
