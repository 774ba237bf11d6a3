"""An event loop in virtual time: runs asyncio code as fast as it computes, the same way every time.

`coroutine, seed -> result`. Time jumps to the next timer when nothing is ready. Nothing outside may be waited for:
threads, executors, sockets, signals and subprocesses are refused. It overrides private hooks of CPython's
`BaseEventLoop` (`_run_once`, `_ready`), which `tests/twin/test_loop.py` pins per Python version.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import threading
from asyncio import events
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack
from unittest.mock import patch

from hanse.core.time import US_PER_S, MonoTime

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DeadlockError(RuntimeError):
    """Raised when tasks wait and nothing is scheduled that could wake them."""


class OverrunError(RuntimeError):
    """Raised when the main coroutine has not ended at the virtual time allowed to it."""


class OutsideWorldError(RuntimeError):
    """Raised when code under simulation reaches for a thread, a socket, a process or a signal."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs ready callbacks in order of their scheduling, timers by (time, order of scheduling).

    With `rng`, task steps that are ready together run in an order drawn from it: code that relies on more than
    asyncio promises shows itself. Other callbacks keep their order, as asyncio guarantees it.
    `after_batch` is called after every batch of callbacks: checkers judge there.
    """

    # Private parts of BaseEventLoop that this class takes over.
    _ready: Any
    _stopping: bool
    _thread_id: int | None

    def __init__(self, rng: random.Random | None = None, *, limit_us: int | None = None) -> None:
        super().__init__()
        self._rng = rng
        self._limit_us = limit_us
        self._now_s = 0.0
        self._heap: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers = 0
        self._tasks_made = 0
        self.batches = 0
        self.after_batch: Callable[[], None] | None = None

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s

    def now_us(self) -> MonoTime:
        """Virtual microseconds since the loop was made."""
        return MonoTime(round(self._now_s * US_PER_S))

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule at a virtual time; timers of equal time run in the order of their scheduling."""
        self._check_closed()  # type: ignore[attr-defined]
        self._timers += 1
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._heap, (when, self._timers, timer))
        return timer

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Make a task whose name and hash come from the order of creation, not from its address."""
        self._check_closed()  # type: ignore[attr-defined]
        self._tasks_made += 1
        label = f"task-{self._tasks_made}" if name is None else str(name)
        return _Task(coro, loop=self, name=label, context=context, number=self._tasks_made)

    def _run_once(self) -> None:
        heap = self._heap
        while heap and heap[0][2].cancelled():
            heapq.heappop(heap)
        if not self._ready and not self._stopping:
            self._jump()
        while heap and heap[0][0] <= self._now_s:
            self._ready.append(heapq.heappop(heap)[2])
        batch = [self._ready.popleft() for _ in range(len(self._ready))]
        for handle in batch if self._rng is None else _permuted(batch, self._rng):
            if not handle._cancelled:
                handle._run()
        self.batches += 1
        if self.after_batch is not None:
            self.after_batch()

    def _jump(self) -> None:
        """Move time to the next timer."""
        if not self._heap:
            raise DeadlockError("nothing is scheduled and these wait:\n" + "\n".join(self._waiting()))
        when = max(self._now_s, self._heap[0][0])
        if self._limit_us is not None and when * US_PER_S > self._limit_us:
            raise OverrunError(f"not done after {self._limit_us} us of virtual time:\n" + "\n".join(self._waiting()))
        self._now_s = when

    def _waiting(self) -> list[str]:
        lines = []
        for task in sorted(asyncio.all_tasks(self), key=hash):
            frames = task.get_stack(limit=1)
            where = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "not started"
            lines.append(f"  {task.get_name()} at {where}")
        return lines

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:  # type: ignore[override]
        """Refuse: a thread's timing is not part of the simulation."""
        raise OutsideWorldError(f"run_in_executor({func!r}) under simulation: only ports may touch the world")

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Refuse calls from other threads; from this one (the hook that closes generators) it is `call_soon`."""
        if threading.get_ident() != self._thread_id:
            raise OutsideWorldError("call_soon_threadsafe under simulation: there are no other threads")
        return self.call_soon(callback, *args, context=context)

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> NoReturn:  # type: ignore[override]
        """Refuse: signals come from outside."""
        raise OutsideWorldError(f"a handler of signal {sig} under simulation")

    async def _refuse(self, *args: Any, **_options: Any) -> NoReturn:
        raise OutsideWorldError(f"a socket or process {args} under simulation: only ports may touch the world")

    getaddrinfo = _refuse
    create_connection = _refuse
    create_server = _refuse
    create_datagram_endpoint = _refuse
    subprocess_exec = _refuse
    subprocess_shell = _refuse


def run(main: Coroutine[Any, Any, T], *, loop: VirtualLoop) -> T:
    """Run `main` to its end on `loop`, cancel in order of creation what it left behind, and close the loop."""
    try:
        with ordered_task_groups():
            asyncio.set_event_loop(loop)
            try:
                result = loop.run_until_complete(main)
            except BaseException:
                loop.after_batch = None
                with suppress(Exception):  # the failure that is on its way says more than one of the clearing up
                    _cancel_rest(loop)
                raise
            loop.after_batch = None
            _cancel_rest(loop)
            return result
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class OrderedTaskGroup(asyncio.TaskGroup):
    """A `TaskGroup` that cancels its children in the order of their creation; the stock one keeps them in a set."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks = _OrderedSet()  # type: ignore[assignment]


@contextmanager
def ordered_task_groups() -> Iterator[None]:
    """Let `asyncio.TaskGroup` mean `OrderedTaskGroup`, for product code that knows nothing of the twin."""
    with patch.object(asyncio, "TaskGroup", OrderedTaskGroup):
        yield


class _OrderedSet(dict[Any, None]):
    """The part of `set` that `TaskGroup` uses, in insertion order."""

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)


class _Task(asyncio.Task[T]):
    """A task that hashes by its number, so that sets of tasks iterate alike in every process."""

    def __init__(self, coro: Any, *, loop: VirtualLoop, name: str, context: Context | None, number: int) -> None:
        self._number = number
        super().__init__(coro, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self._number


def _permuted(batch: list[Any], rng: random.Random) -> list[Any]:
    """Draw an order for the task steps of a batch; everything else keeps its place."""
    places = [at for at, handle in enumerate(batch) if isinstance(_owner(handle), asyncio.Task)]
    if len(places) < 2:
        return batch
    drawn = places[:]
    rng.shuffle(drawn)
    permuted = batch[:]
    for place, source in zip(places, drawn, strict=True):
        permuted[place] = batch[source]
    return permuted


def _owner(handle: events.Handle) -> object:
    return getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]


def _cancel_rest(loop: VirtualLoop) -> None:
    rest = sorted(asyncio.all_tasks(loop), key=hash)
    for task in rest:
        task.cancel()
    if rest:
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
