"""The engine: one thread that owns every llama.cpp object, and the face it shows to the asyncio thread.

Other threads put commands into an inbox; the engine thread runs steps and posts what they gave back to the event
loop, once per step. Two llama_decode calls never run at the same time: on a small CPU box each would slow the
other by more than its share.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.engine import llama
from appliance.engine.lane import Lane, LaneShape
from appliance.engine.llama import Adapter, Model
from appliance.engine.prefix_cache import Snapshots, StateKey
from appliance.engine.queue import WaitingRoom
from appliance.engine.run import Events, Run
from appliance.engine.scheduler import DeficitRoundRobin, Share, weights
from appliance.engine.sequence import Event, Failed, Sequence, SequenceRequest
from appliance.engine.threads import ThreadChoice
from appliance.errors import ApplianceError, EngineFault, Unavailable

BASE_LANE = "base"
STRIKES = 3  # faults in a row, with no good answer between, after which a release is not worth trying
_IDLE_WAIT_S = 1.0  # also the heartbeat's period when there is nothing to do
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LaneStatus:
    key: str
    running: int
    waiting: int
    strikes: int


class Engine:
    """Create it anywhere, `start` it once, talk to it from one event loop."""

    def __init__(
        self,
        model_path: Path,
        shape: LaneShape,
        gpu_layers: int,
        room: WaitingRoom,
        key: StateKey,
        cache_bytes: int = 0,
    ) -> None:
        """`key` is the bare base's; a release's differs in its digest. `cache_bytes` bounds the RAM tier."""
        self._path, self._shape, self._gpu_layers = model_path, shape, gpu_layers
        self.room = room
        self._key, self.snapshots = key, Snapshots(cache_bytes)
        self._thread_choice = ThreadChoice(shape.threads)
        self._lanes: dict[str, Lane] = {}
        self._turns = {False: DeficitRoundRobin(), True: DeficitRoundRobin()}
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._outbox: list[tuple[Events, int, Event]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: Counter[str] = Counter()
        self._stopping = False  # no more work is taken
        self._unloaded = False  # the thread may end
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.heartbeat = time.monotonic()
        self.on_struck_out: Callable[[str, str], None] | None = None  # called on the event loop: which lane, and why
        self.model: Model

    # -- from the event loop --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the base and its own lane. Raises BaseModelError or EngineFault."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        await self._command(self._load)

    async def stop(self) -> None:
        """Fail what still runs, free everything, end the thread. A second time does nothing."""
        if self._stopping or not self._thread.is_alive():
            return
        self._stopping = True
        await self._command(self._unload)
        await asyncio.to_thread(self._thread.join)

    async def attach(self, key: str, adapter: Path, share: Share) -> None:
        """Make a lane for a release. Raises EngineFault when llama.cpp refuses the adapter, or Unavailable."""
        self._check_running()
        await self._command(lambda: self._attach(key, adapter, share))

    async def detach(self, key: str) -> None:
        """Wait until nobody holds the lane, then free it."""
        while self._held[key]:
            await asyncio.sleep(0.02)
        self._check_running()
        await self._command(lambda: self._detach(key))

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Keep the lane of `key` from being detached meanwhile. Raises Unavailable when there is none."""
        if key not in self._lanes:
            raise Unavailable(f"release {key[:12]} is not loaded", code="release_not_loaded", retry_after=1)
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1

    def holds(self, key: str) -> int:
        return self._held[key]

    def submit(self, requests: Items[SequenceRequest]) -> Run:
        """Take places in the waiting room for all of them, of one cohort, and set them to work. Raises Unavailable.

        The caller holds their lane meanwhile. Background work takes no places: who asks for it bounds it.
        """
        self._check_running()
        live = [request for request in requests if not request.background]
        if live:
            self.room.enter(sum(len(request.prompt) for request in live), len(live), live[0].cohort)
        run = Run(requests, self._emit, self.wake)
        self._post(lambda: self._submit(run.sequences))
        return run

    def wake(self) -> None:
        """Let the engine thread notice a cancellation."""
        self._post(lambda: None)

    def status(self) -> list[LaneStatus]:
        """A snapshot; counts may be one step old."""
        return [
            LaneStatus(lane.key, len(lane.running), len(lane.waiting), lane.strikes)
            for lane in list(self._lanes.values())
        ]

    def _check_running(self) -> None:
        if self._stopping:
            raise Unavailable("the appliance is stopping", code="stopping", retry_after=5)

    async def _command(self, work: Callable[[], None]) -> None:
        done: Future[None] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                work()
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        if not self._thread.is_alive():
            raise EngineFault("the engine thread has ended: restart the appliance")
        self._post(run)
        await asyncio.wrap_future(done)

    def _post(self, command: Callable[[], None]) -> None:
        with self._wake:
            self._inbox.append(command)
            self._wake.notify()

    # -- on the engine thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._unloaded:
            self.heartbeat = time.monotonic()
            self._take_commands()
            self._sweep()
            busy = self._step()
            self._publish()
            if not busy and not self._unloaded:
                self._wait()

    def _load(self) -> None:
        llama.start()
        self.model = Model(self._path, self._gpu_layers)
        self._lanes[BASE_LANE] = Lane(
            self._key, self.model, None, self._shape, Share(BASE_LANE), self.snapshots, self._thread_choice
        )

    def _unload(self) -> None:
        stopping = Unavailable("the appliance is stopping", code="stopping", retry_after=5)
        for lane in self._lanes.values():
            self._empty(lane, stopping)
        for key in [k for k in self._lanes if k != BASE_LANE]:
            self._lanes.pop(key).close()
        if BASE_LANE in self._lanes:
            self._lanes.pop(BASE_LANE).close()
            self.model.close()
        self._unloaded = True

    def _empty(self, lane: Lane, error: ApplianceError) -> None:
        while lane.running or lane.waiting:
            for sequence in lane.fail_all(error):
                self._left(sequence)

    def _attach(self, key: str, path: Path, share: Share) -> None:
        if key in self._lanes:  # loaded to be tried; from now on it may have another share
            self._lanes[key].share = share
            return
        adapter = Adapter(self.model, path)
        try:
            identity = self._key._replace(release=key)
            self._lanes[key] = Lane(
                identity, self.model, adapter, self._shape, share, self.snapshots, self._thread_choice
            )
        except BaseException:
            adapter.free()
            raise

    def _detach(self, key: str) -> None:
        lane = self._lanes.pop(key, None)
        if lane is not None:
            self._empty(lane, Unavailable("the release was unloaded", code="release_not_loaded", retry_after=1))
            lane.close()
            for turns in self._turns.values():
                turns.forget(key)

    def _submit(self, sequences: Items[Sequence]) -> None:
        for sequence in sequences:
            lane = self._lanes.get(sequence.request.lane)
            if lane is None:
                gone = Unavailable("the release was unloaded", code="release_not_loaded", retry_after=1)
                sequence.sink(Failed(gone))
                self._left(sequence)
            else:
                lane.waiting.append(sequence)

    def _take_commands(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def _wait(self) -> None:
        with self._wake:
            if not self._inbox:
                self._wake.wait(_IDLE_WAIT_S)

    def _sweep(self) -> None:
        now = time.monotonic()
        for lane in self._lanes.values():
            for sequence in lane.sweep(now):
                self._left(sequence)

    def _step(self) -> bool:
        """One batch of the lane whose turn it is; background lanes only when no lane has foreground work."""
        for background in (False, True):
            working = {k: lane.share for k, lane in self._lanes.items() if lane.has_work(background=background)}
            if ready := weights(working):
                turns = self._turns[background]
                key = turns.pick(ready)
                started = time.perf_counter()
                self._step_lane(self._lanes[key], background)
                ms = (time.perf_counter() - started) * 1e3
                turns.charge(key, ms)
                return True
        return False

    def _step_lane(self, lane: Lane, background: bool) -> None:
        try:
            for sequence in lane.step(background=background, on_admit=self._admitted):
                self._ended(sequence)
        except Exception as error:
            # Whatever it was, it concerns this lane only: its sequences fail, the others go on.
            _log.exception("lane %s failed", lane.key[:12])
            fault = error if isinstance(error, ApplianceError) else EngineFault(f"the engine failed: {error}")
            lane.strike(fault.message)
            for sequence in lane.fail_all(fault):
                self._left(sequence)
        if lane.strikes >= STRIKES and lane.key != BASE_LANE:
            self._strike_out(lane)

    def _strike_out(self, lane: Lane) -> None:
        """Have it known before the events of this step: who asks next is not sent there. Counting begins anew."""
        why = f"it failed {lane.strikes} times in a row, the last time: {lane.last_fault}"
        lane.strikes = 0
        if self.on_struck_out is not None:
            self._on_loop(self.on_struck_out, lane.key, why)

    def _admitted(self, sequence: Sequence) -> None:
        if not sequence.request.background:
            self.room.leave(len(sequence.request.prompt), sequence.request.cohort)

    def _ended(self, sequence: Sequence) -> None:
        if not sequence.request.background:
            self.room.ended()

    def _left(self, sequence: Sequence) -> None:
        """A sequence went before its end; if it never ran, its place in the waiting room is free again."""
        if not sequence.admitted and not sequence.request.background:
            self.room.leave(len(sequence.request.prompt), sequence.request.cohort)

    def _emit(self, events: Events, index: int, event: Event) -> None:
        """Have the event delivered after this step."""
        self._outbox.append((events, index, event))

    def _publish(self) -> None:
        if not self._outbox:
            return
        batch, self._outbox = self._outbox, []
        self._on_loop(_deliver, batch)

    def _on_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None  # noqa: S101 - nothing runs before `start`
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop has closed: nobody is waiting any more
            _log.debug("dropped what a closed loop was to be told")


def _deliver(batch: list[tuple[Events, int, Event]]) -> None:
    for queue, index, event in batch:
        queue.put_nowait((index, event))
