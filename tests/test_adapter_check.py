"""What `cohort release add` does with a file: bad ones are refused at once, on paper or by a child that may die."""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from adapters.gguf_header import Header, read
from adapters.inspect import AdapterFacts, inspect_header
from appliance.base import PreparedBase
from appliance.errors import InvalidRequest, StoreUnavailable
from appliance.releases import adapter_check
from tests.adapters.bad_files import OVERFLOWING, UNFIT, module_of, places
from tests.adapters.forge import lora, text
from tests.adapters.lies import LIES
from tests.adapters.mutations import mutations, specimen


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> PreparedBase:
    return PreparedBase("tiny", "b" * 64, read(tiny_base), tiny_base, "as_is", "b" * 64)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "staging").mkdir()
    return tmp_path / "staging" / "adapter.gguf"


@pytest.fixture
def on_paper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No child is started: what is refused is refused before."""

    def started(*_: object) -> None:
        raise AssertionError("a child was started")

    monkeypatch.setattr(adapter_check, "_probe", started)
    return iter(())


def refused(path: Path, copy: Path, base: PreparedBase) -> str:
    """The reason, which names the file."""
    with pytest.raises(InvalidRequest) as caught:
        adapter_check.check(path, copy, base)
    assert caught.value.param == "path"
    assert str(path) in caught.value.message
    return caught.value.message


def good(header: Header, rank: int = 4) -> bytes:
    return lora(module_of(header).pair(rank=rank))


@pytest.mark.usefixtures("on_paper")
@pytest.mark.parametrize("what", [*LIES, *UNFIT])
def test_a_bad_file_is_refused_on_paper(what: str, tmp_path: Path, copy: Path, base: PreparedBase) -> None:
    path = tmp_path / "given.gguf"
    path.write_bytes(LIES[what] if what in LIES else UNFIT[what][0](module_of(base.header)))
    assert "is refused: " in refused(path, copy, base)
    assert not copy.exists() or what.startswith("a weight"), "copied before it was looked at"


@pytest.mark.usefixtures("on_paper")
def test_what_is_no_file_is_refused(tmp_path: Path, copy: Path, base: PreparedBase) -> None:
    for path, why in places(tmp_path).values():
        assert why in refused(path, copy, base)
        assert not copy.exists(), path


@pytest.mark.usefixtures("on_paper")
def test_what_may_not_be_read_is_refused(tmp_path: Path, copy: Path, base: PreparedBase) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "locked.gguf"
    path.write_bytes(good(base.header))
    path.chmod(0)
    assert "Permission denied" in refused(path, copy, base)


@pytest.mark.usefixtures("on_paper")
def test_one_that_says_it_was_trained_on_another_base_is_refused(
    tmp_path: Path, copy: Path, base: PreparedBase
) -> None:
    """Its shapes fit."""
    path, pair = tmp_path / "given.gguf", module_of(base.header).pair()
    path.write_bytes(lora(pair, base=text("cohort.base", "c" * 64)))
    message = refused(path, copy, base)
    assert f"trained on the base {'c' * 12}" in message and f"this base is {'b' * 12}; train it on" in message
    assert not copy.exists()
    path.write_bytes(lora(pair, base=text("cohort.base", "\x1b[31m\n")))
    assert "\x1b" not in refused(path, copy, base)


def test_one_that_says_it_was_trained_on_this_base_is_taken(tmp_path: Path, copy: Path, base: PreparedBase) -> None:
    path = tmp_path / "given.gguf"
    path.write_bytes(lora(module_of(base.header).pair(), base=text("cohort.base", base.digest)))
    assert adapter_check.check(path, copy, base).passport["cohort.base"] == base.digest


@pytest.mark.parametrize("what", OVERFLOWING)
def test_what_only_shows_when_tried_is_refused_by_the_child(
    what: str, tmp_path: Path, copy: Path, base: PreparedBase
) -> None:
    make, why = OVERFLOWING[what]
    path = tmp_path / "given.gguf"
    path.write_bytes(make(module_of(base.header)))
    message = refused(path, copy, base)
    assert "llama.cpp could not use it" in message
    assert why in message


def test_a_good_adapter_is_taken_whatever_becomes_of_the_file(tmp_path: Path, copy: Path, base: PreparedBase) -> None:
    path = tmp_path / "given.gguf"
    path.write_bytes(good(base.header))
    facts = adapter_check.check(path, copy, base)
    path.unlink()
    assert (facts.rank, facts.modules) == (4, 1)
    assert copy.read_bytes() == good(base.header)


# -- files that change meanwhile ----------------------------------------------------------------------------------


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something happen after the file's header was looked at and before it is copied."""

    def arrange(happens: Callable[[], object]) -> None:
        def looked(file: BinaryIO, header: Header) -> tuple[Header, AdapterFacts]:
            found = inspect_header(file, header)
            happens()
            return found

        monkeypatch.setattr("appliance.releases.adapter_check.inspect_header", looked)

    return arrange


@pytest.mark.usefixtures("on_paper")
@pytest.mark.parametrize("what", ["cut off", "emptied", "overwritten", "a weight spoiled"])
def test_what_is_checked_is_the_copy(
    what: str,
    tmp_path: Path,
    copy: Path,
    base: PreparedBase,
    meanwhile: Callable[[Callable[[], object]], None],
) -> None:
    path, content = tmp_path / "given.gguf", good(base.header, rank=64)  # longer than what is read ahead
    later = {"cut off": content[:-64], "emptied": b"", "overwritten": LIES["text"], "a weight spoiled": b""}[what]
    if what == "a weight spoiled":
        later = content[:-4] + b"\x00\x00\xc0\x7f"
    path.write_bytes(content)
    meanwhile(lambda: path.write_bytes(later))
    assert "is refused: " in refused(path, copy, base)


def test_a_file_that_grows_is_copied_as_it_was(
    tmp_path: Path, copy: Path, base: PreparedBase, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    path, content = tmp_path / "given.gguf", good(base.header)
    path.write_bytes(content)
    grow = path.open("ab")
    read_chunk, size = adapter_check._CHUNK, len(content)

    def grows() -> None:
        grow.write(bytes(4 * read_chunk))
        grow.flush()

    meanwhile(grows)
    message = refused(path, copy, base)
    grow.close()
    assert "bytes follow its last tensor" in message
    assert copy.stat().st_size == size + 4 * read_chunk, "as long as it was when the copy began"


@pytest.mark.usefixtures("on_paper")
def test_a_pipe_put_in_the_files_place_does_not_hold_us_up(
    tmp_path: Path, copy: Path, base: PreparedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, _ = places(tmp_path)["a pipe nobody writes to"]
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    assert "is not a regular file" in refused(pipe, copy, base)


@pytest.mark.usefixtures("on_paper")
def test_no_copy_fills_the_disk(
    tmp_path: Path, copy: Path, base: PreparedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = tmp_path / "given.gguf", good(base.header)
    path.write_bytes(content)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=len(content)))
    with pytest.raises(StoreUnavailable, match="No space left on device; free space, try again"):
        adapter_check.check(path, copy, base)
    assert not copy.exists()


# -- mutations ----------------------------------------------------------------------------------------------------


def test_150_mutations_are_refused_or_taken_and_none_hurts(
    tmp_path: Path, copy: Path, base: PreparedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that are sound on paper the child tries some; `bench/hostile.py` has all of more tried."""
    probe, sound, ends = adapter_check._probe, itertools.count(), Counter[str]()

    def probe_some(*given: Any) -> None:  # noqa: ANN401
        if next(sound) % 3 == 0:
            ends["tried"] += 1
            probe(*given)

    monkeypatch.setattr(adapter_check, "_probe", probe_some)
    path, specimens = tmp_path / "mutated.gguf", [specimen(good(base.header, rank)) for rank in (1, 4)]
    for _, content in mutations(specimens, seed=1, count=150):
        path.write_bytes(content)
        try:
            adapter_check.check(path, copy, base)
        except InvalidRequest as error:
            ends["refused"] += 1
            assert error.param == "path"
        else:
            ends["taken"] += 1
            assert copy.read_bytes() == content
        copy.unlink(missing_ok=True)
    assert ends["refused"] + ends["taken"] == 150
    assert ends["refused"] > 75
    assert ends["tried"] > 2
