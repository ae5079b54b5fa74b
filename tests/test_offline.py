"""Work that no request waits for."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from appliance.routing.offline import YIELDS, Offline


def test_in_order_and_off_the_pool_that_requests_need() -> None:
    def work(number: int) -> tuple[int, str, int]:
        niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return 2 * number, threading.current_thread().name, niceness

    found = asyncio.run(Offline().each(work, range(3)))
    assert [twice for twice, _, _ in found] == [0, 2, 4]
    assert {name for _, name, _ in found} == {"offline_0"}
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert {niceness for _, _, niceness in found} == {min(19, own + YIELDS)}, "and requests keep theirs"


def test_one_piece_of_work_at_a_time() -> None:
    order: list[str] = []

    async def main() -> None:
        offline = Offline()
        await asyncio.gather(*(offline.each(order.append, [name] * 3) for name in "ab"))

    asyncio.run(main())
    assert order == ["a", "a", "a", "b", "b", "b"]


def test_who_leaves_is_not_worked_for() -> None:
    """The next one begins when the item under way is done."""
    begun, go_on, done = threading.Event(), threading.Event(), list[int]()

    def work(number: int) -> None:
        begun.set()
        assert go_on.wait(60)
        done.append(number)

    async def main() -> None:
        offline = Offline()
        leaving = asyncio.create_task(offline.each(work, range(1000)))
        await asyncio.to_thread(begun.wait, 60)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        go_on.set()
        assert await offline.once(lambda: list(done)) == [0]

    asyncio.run(main())
