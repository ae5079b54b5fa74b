"""Which releases stay in memory when there is little of it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from appliance.errors import Conflict, Unavailable
from appliance.releases.lanes import HEADROOM, Lanes, free_memory
from router.table import Target
from tests.engine.drive import held_up, lanes, serving, until

A, B, C = (Target("legal", n, name) for n, name in enumerate("abc", 1))


async def trusted(_digest: str) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path, tiny_adapters: tuple[Path, Path]) -> Path:
    for target in (A, B, C):
        (tmp_path / target.digest).mkdir()
        shutil.copyfile(tiny_adapters[0], tmp_path / target.digest / "adapter.gguf")
    return tmp_path


@pytest.mark.parametrize(("limit", "left"), [("max", None), (1000 << 20, 600 << 20)])
def test_what_a_control_group_holds_of_files_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | str, left: int | None
) -> None:
    own = tmp_path / Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
    own.mkdir(parents=True, exist_ok=True)
    (own / "memory.max").write_text(f"{limit}\n")
    (own / "memory.current").write_text(f"{900 << 20}\n")
    (own / "memory.stat").write_text(f"anon {300 << 20}\ninactive_file {450 << 20}\nslab_reclaimable {50 << 20}\n")
    machine = free_memory()
    monkeypatch.setattr("appliance.releases.lanes._CGROUPS", tmp_path)
    found = free_memory()
    assert found == min(left, machine) if left else found > 0


def test_idle_spare_lanes_make_room_when_memory_is_short(
    tiny_base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with serving(tiny_base) as engine:
            register = Lanes(engine, folder, spare=4, lane_bytes=100, vet=trusted)
            size = (folder / "c" / "adapter.gguf").stat().st_size
            for target in (A, B):
                await register.attach(target, 1.0, spare=True)
            monkeypatch.setattr(
                "appliance.releases.lanes.free_memory",
                lambda: HEADROOM + size + (99 if "a" in lanes(engine) else 100),
            )
            await register.attach(C, 1.0, spare=True)
            assert lanes(engine) == {"base", "b", "c"}, "the one used longest ago went, and no more"

    asyncio.run(main())


def test_a_load_that_nobody_waits_for_is_done_all_the_same(tiny_base: Path, folder: Path) -> None:
    """Of a lane half made nobody would know, and its memory be lost."""

    async def main() -> None:
        async with serving(tiny_base) as engine, asyncio.timeout(30):
            register = Lanes(engine, folder, spare=4, lane_bytes=100, vet=trusted)
            async with held_up(engine):
                loading = asyncio.create_task(register.attach(A, 1.0, spare=True))
                await asyncio.sleep(0.05)
                loading.cancel()
                await asyncio.sleep(0.05)
            with pytest.raises(asyncio.CancelledError):
                await loading
            assert lanes(engine) == {"base", "a"} and "a" in register._resident

    asyncio.run(main())


def test_live_and_held_lanes_stay_however_short_memory_is(
    tiny_base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with serving(tiny_base) as engine:
            register = Lanes(engine, folder, spare=4, lane_bytes=100, vet=trusted)
            register.live = frozenset({A.digest})
            await register.attach(A, 1.0, spare=False)
            async with register.hold(B, 1.0):
                monkeypatch.setattr("appliance.releases.lanes.free_memory", lambda: HEADROOM)
                with pytest.raises(Unavailable, match=r"legal@3 needs .* of memory") as caught:
                    await register.attach(C, 1.0, spare=True)
                assert caught.value.code == "out_of_memory"
                assert lanes(engine) == {"base", "a", "b"}

    asyncio.run(main())


def test_a_lane_that_is_taken_meanwhile_is_not_waited_for(
    tiny_base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a new release would load, and the lock be free, only when somebody's stream has ended."""

    async def main() -> None:
        async with serving(tiny_base) as engine, asyncio.timeout(30):
            register = Lanes(engine, folder, spare=4, lane_bytes=100, vet=trusted)
            for target in (A, B):
                await register.attach(target, 1.0, spare=True)
            monkeypatch.setattr("appliance.releases.lanes.free_memory", lambda: HEADROOM)
            async with held_up(engine):
                loading = asyncio.create_task(register.attach(C, 1.0, spare=True))
                await until(lambda: "a" not in register._resident)  # it is on its way out
                held = register.hold(B, 1.0)
                await held.__aenter__()
            with pytest.raises(Unavailable, match="of memory"):
                await loading
            assert lanes(engine) == {"base", "b"}
            await held.__aexit__(None, None, None)

    asyncio.run(main())


def test_what_is_not_as_it_was_registered_is_not_loaded(tiny_base: Path, folder: Path) -> None:
    async def changed(digest: str) -> None:
        raise Conflict(f"{digest} was changed")

    async def main() -> None:
        async with serving(tiny_base) as engine:
            register = Lanes(engine, folder, spare=4, lane_bytes=100, vet=changed)
            with pytest.raises(Conflict, match="a was changed"):
                await register.attach(A, 1.0, spare=True)
            with pytest.raises(Conflict, match="b was changed"):
                async with register.trial("b", folder / "b" / "adapter.gguf"):
                    raise AssertionError("it is held")
            assert lanes(engine) == {"base"}

    asyncio.run(main())


def test_a_trial_that_is_left_while_another_lane_is_loaded_leaves_no_lane(tiny_base: Path, folder: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base) as engine, asyncio.timeout(30):
            register = Lanes(engine, folder, spare=4, lane_bytes=100, vet=trusted)
            entered, leave = asyncio.Event(), asyncio.Event()

            async def tried() -> None:
                async with register.trial("a", folder / "a" / "adapter.gguf"):
                    entered.set()
                    await leave.wait()

            trial = asyncio.create_task(tried())
            await entered.wait()
            async with register._lock:  # as a load holds it
                leave.set()
                await asyncio.sleep(0.05)
                trial.cancel()
                await asyncio.sleep(0.05)
            with pytest.raises(asyncio.CancelledError):
                await trial
            assert lanes(engine) == {"base"}

    asyncio.run(main())
