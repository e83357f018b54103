"""The heart of the simulator: what happens when, and who waits for what.

Events happen in the order of their times; those of one moment in an order drawn from the seed. Hands are written as
coroutines, and run here without asyncio: they wait for a `Future` or a pause, and go on within the event that ends it.

Whatever belongs to a process hangs on its `Life`: what reaches a dead one is lost, what reaches one that stands still
waits until it goes on.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from heapq import heappop, heappush
from typing import Any, Final, Generic, TypeVar

from quorate.clusapi.errors import ClusterError
from quorate.simulator.dice import Dice

T = TypeVar("T")
Act = Callable[[], None]


class Timer:
    """Something that is to happen, unless it is called off."""

    __slots__ = ("act", "at", "is_routine", "life")

    def __init__(self, at: float, act: Act, life: "Life | None", is_routine: bool) -> None:
        """Have something happen to a life, or to the world.

        It is routine if it only watches over leases: as long as they are renewed it may be put off with them
        (`stillness.py`).
        """
        self.at = at
        self.act: Act | None = act
        self.life = life
        self.is_routine = is_routine

    def cancel(self) -> None:
        """Call it off."""
        self.act = None


class Kernel:
    """Time, and everything that is still to happen."""

    def __init__(self, seed: int) -> None:
        """Begin at 0."""
        self.now = 0.0
        self.events = 0
        self.after_event: Act = _nothing
        """Called after each event, when everything that followed from it at once is done."""
        self._heap: list[tuple[float, float, int, Timer]] = []
        self._count = 0
        self._ties = Dice(seed, "ties").draw
        self._ready: deque[Act] = deque()

    def at(self, when: float, act: Act, life: "Life | None" = None, *, routine: bool = False) -> Timer:
        """Let something happen at a moment."""
        timer = Timer(when, act, life, routine)
        self._count += 1
        heappush(self._heap, (when, self._ties(), self._count, timer))
        return timer

    def later(self, delay: float, act: Act, life: "Life | None" = None) -> Timer:
        """Let something happen after so many seconds."""
        return self.at(self.now + delay, act, life)

    def soon(self, act: Act) -> None:
        """Let something happen within this very event, after what is going on now."""
        self._ready.append(act)

    def run(self, until: float, stop: Callable[[], bool] | None = None) -> bool:
        """Let happen what is due until then, or until `stop`; answers whether it stopped early."""
        heap, ready = self._heap, self._ready
        while heap and heap[0][0] <= until:
            when, _, _, timer = heappop(heap)
            act = timer.act
            if act is None:
                continue
            self.now = when
            life = timer.life
            if life is not None and not life.is_running:
                life.take(act)
                continue
            self.events += 1
            act()
            while ready:
                ready.popleft()()
            self.after_event()
            if stop is not None and stop():
                return True
        self.now = max(self.now, until)
        return False

    def next_at(self) -> float:
        """When something happens next that is not routine."""
        heap, soonest = self._heap, float("inf")
        below = [0]  # what lies below something in the heap is no sooner: it need not be looked at where that is late
        while below:
            index = below.pop()
            if index >= len(heap):
                continue
            when, _, _, timer = heap[index]
            if when >= soonest:
                continue
            if timer.act is not None and not timer.is_routine:
                soonest = when
            else:
                below += (2 * index + 1, 2 * index + 2)
        return soonest

    def shift_routine(self, seconds: float) -> None:
        """Let so much time pass at once: routine is put off by it, and nothing else is due before."""
        self.now += seconds
        kept = []
        for when, tie, count, timer in self._heap:
            if timer.act is None:
                continue
            if timer.is_routine:
                timer.at += seconds
                kept.append((when + seconds, tie, count, timer))
            else:
                kept.append((when, tie, count, timer))
        kept.sort()
        self._heap[:] = kept


def _nothing() -> None:
    """Do nothing."""


class Future(Generic[T]):
    """Something that a coroutine waits for. It comes once, as a value or as an error."""

    __slots__ = ("_error", "_kernel", "_value", "_waiting", "is_done")

    def __init__(self, kernel: Kernel) -> None:
        """Be still to come."""
        self._kernel = kernel
        self.is_done = False
        self._value: T | None = None
        self._error: Exception | None = None
        self._waiting: list[Act] = []

    def set(self, value: T) -> None:
        """Come; what comes later is nothing."""
        if not self.is_done:
            self._value = value
            self._finish()

    def fail(self, error: Exception) -> None:
        """Come as an error; what comes later is nothing."""
        if not self.is_done:
            self._error = error
            self._finish()

    def then(self, act: Act) -> None:
        """Do something when it has come."""
        if self.is_done:
            self._kernel.soon(act)
        else:
            self._waiting.append(act)

    def _finish(self) -> None:
        self.is_done = True
        for act in self._waiting:
            self._kernel.soon(act)
        self._waiting.clear()

    def result(self) -> T:
        """Give what has come. Raises what came as an error."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def __await__(self) -> Generator["Future[Any]", None, T]:
        if not self.is_done:
            yield self
        return self.result()


class Task:
    """A coroutine on its way."""

    __slots__ = ("_coroutine", "_is_going", "life", "over", "what")

    def __init__(self, life: "Life", coroutine: Coroutine[Any, Any, object], what: str) -> None:
        """Run for a life, from the next opportunity on."""
        self.life = life
        self.what = what
        self.over: Future[None] = Future(life.kernel)
        self._coroutine = coroutine
        self._is_going = False

    def go(self) -> None:
        """Go on until the next wait, or the end."""
        life = self.life
        if self.over.is_done:
            return
        if not life.is_running:
            life.take(self.go)
            return
        self._is_going = True
        try:
            waited: Future[object] = self._coroutine.send(None)
        except StopIteration:
            self._end()
        except ClusterError as error:
            life.on_error(self.what, error)
            self._end()
        else:
            self._is_going = False
            if self.over.is_done:
                self._coroutine.close()  # it was cancelled by what it did itself
            else:
                waited.then(self.go)

    def cancel(self) -> None:
        """End it where it waits."""
        if not self.over.is_done:
            self._end()
            if not self._is_going:
                self._coroutine.close()

    def _end(self) -> None:
        self._is_going = False
        self.life.forget(self)
        self.over.set(None)


class Life:
    """A process, or a part of one that ends before it."""

    __slots__ = ("_parts", "_stalled", "_tasks", "is_alive", "is_running", "is_stopped", "kernel", "on_error", "parent")

    def __init__(self, kernel: Kernel, parent: "Life | None" = None) -> None:
        """Live; as a part of another life end with it."""
        self.kernel = kernel
        self.parent = parent
        self.is_alive = True
        self.is_stopped = False
        self.is_running: bool = parent is None or parent.is_running
        self.on_error: Callable[[str, ClusterError], None] = _ignore if parent is None else parent.on_error
        self._stalled: deque[Act] = deque()
        self._tasks: dict[Task, None] = {}
        self._parts: dict[Life, None] = {}
        if parent is not None:
            parent._parts[self] = None

    def later(self, delay: float, act: Act, *, routine: bool = False) -> Timer:
        """Let something happen to it after so many seconds."""
        return self.kernel.at(self.kernel.now + delay, act, self, routine=routine)

    def spawn(self, coroutine: Coroutine[Any, Any, object], what: str = "") -> Task:
        """Run a coroutine of it."""
        task = Task(self, coroutine, what)
        if not self.is_alive:
            coroutine.close()
            task.over.set(None)
            return task
        self._tasks[task] = None
        self.kernel.soon(task.go)
        return task

    def forget(self, task: Task) -> None:
        """Have nothing more to do with a task that is over."""
        self._tasks.pop(task, None)

    def take(self, act: Act) -> None:
        """Keep for later what reaches it while it stands still; drop it if it is dead."""
        if self.is_alive:
            self._root()._stalled.append(lambda: self.reach(act))

    def reach(self, act: Act) -> None:
        """Let something reach it: now, or when it goes on, or never."""
        if self.is_running:
            act()
        else:
            self.take(act)

    def future(self) -> "Future[Any]":
        """Make something to wait for."""
        return Future(self.kernel)

    def sleep(self, seconds: float) -> "Future[None]":
        """Wait so many seconds."""
        over: Future[None] = Future(self.kernel)
        self.kernel.at(self.kernel.now + seconds, lambda: over.set(None), self)
        return over

    async def within(self, seconds: float, waited: "Future[T]") -> T | None:
        """Wait for something, at most so long; None: it has not come."""
        if not waited.is_done:
            either: Future[None] = Future(self.kernel)
            timer = self.later(seconds, lambda: either.set(None))
            waited.then(lambda: either.set(None))
            await either
            timer.cancel()
        return waited.result() if waited.is_done else None

    # --- its end, and standing still ---------------------------------------------------------------------------------

    def end(self) -> None:
        """Be dead: nothing that was under way goes on."""
        if not self.is_alive:
            return
        self.is_alive = self.is_running = False
        if self.parent is not None:
            self.parent._parts.pop(self, None)
        self._stalled.clear()
        for part in tuple(self._parts):
            part.end()
        for task in tuple(self._tasks):
            task.cancel()

    def stop(self) -> None:
        """Stand still, as by SIGSTOP."""
        self.is_stopped = True
        self._mark(False)

    def go_on(self) -> None:
        """Stand still no more."""
        if not self.is_stopped or not self.is_alive:
            return
        self.is_stopped = False
        self._mark(True)
        stalled, self._stalled = self._stalled, deque()
        for act in stalled:
            self.kernel.soon(act)

    def _mark(self, running: bool) -> None:
        self.is_running = running and self.is_alive
        for part in self._parts:
            part._mark(running)

    def _root(self) -> "Life":
        life = self
        while life.parent is not None:
            life = life.parent
        return life


def _ignore(what: str, error: ClusterError) -> None:
    """Say nothing of an error."""


class Lock:
    """One at a time, in the order in which they came."""

    __slots__ = ("_life", "_waiting", "is_locked")

    def __init__(self, life: Life) -> None:
        """Be free."""
        self._life = life
        self.is_locked = False
        self._waiting: deque[Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self.is_locked:
            turn: Future[None] = Future(self._life.kernel)
            self._waiting.append(turn)
            try:
                await turn
            except GeneratorExit:
                if turn.is_done:
                    self._release()
                else:
                    self._waiting.remove(turn)
                raise
        self.is_locked = True

    async def __aexit__(self, *error: object) -> None:
        self._release()

    def _release(self) -> None:
        if self._waiting:
            self._waiting.popleft().set(None)  # it stays locked: nobody else comes in between
        else:
            self.is_locked = False


EPSILON: Final = 1e-6
"""Seconds by which something is late that must not be early."""


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    coroutine.close()
    raise AssertionError("it waits for something")
