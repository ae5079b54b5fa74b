"""The base: which file it is, whether it can be one, and the format it is served in."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path

import pytest

from adapters.gguf_header import Header
from adapters.registry import file_digest
from appliance import app, base
from appliance.base import PreparedBase
from appliance.config import Base, CohortSection, Config
from appliance.engine.prepare import MAX_LOSS, MIN_GAIN, Trial, admissible, choose
from appliance.errors import BaseModelError
from tests.adapters.forge import gguf, text
from tests.tiny import write_base


@pytest.mark.parametrize(
    ("stem", "slug"),
    [
        ("SmolLM2-135M-Instruct.Q4_1", "smollm2-135m-instruct"),
        ("SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
        ("qwen2.5-0.5b-instruct-q4_k_m", "qwen2.5-0.5b-instruct"),
        ("Model_IQ4_XS", "model"),
        ("model-BF16", "model"),
        ("model.f16", "model"),
        ("My Model (final)", "my-model-final"),
        ("Größe", "gr-e"),
        ("模型", "model"),
        (".hidden", "hidden"),
        ("q4_0", "q4_0"),
        ("---", "model"),
    ],
)
def test_slug(stem: str, slug: str) -> None:
    assert base.slug(stem) == slug
    assert Base.model_validate({"name": slug}).name == slug


CHAT = text("tokenizer.chat_template", "{{ messages }}")
LLAMA = text("general.architecture", "llama")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a usable GGUF: it ends"),
        (b"PK\x03\x04 a zip file", "is not a usable GGUF: it does not begin with GGUF"),
        (gguf(CHAT, LLAMA, text("general.type", "adapter")), "is a GGUF adapter, not a model"),
        (gguf(CHAT, LLAMA, text("general.type", "mmproj")), "is a GGUF mmproj, not a model"),
        (
            gguf(CHAT, text("general.architecture", "mamba")),
            "has the architecture mamba; served are llama, qwen2, qwen3",
        ),
        (gguf(CHAT), "has the architecture unknown"),
        (gguf(LLAMA), "carries no chat template: use an instruction-tuned model"),
    ],
)
def test_inspect_refuses(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "given.gguf"
    path.write_bytes(content)
    with pytest.raises(BaseModelError, match=f"{path} {says}"):
        base.inspect(path)


def test_inspect_takes_the_tiny_base_and_names_a_missing_one(tiny_base: Path, tmp_path: Path) -> None:
    assert base.inspect(tiny_base).text("general.name") == "tiny"
    with pytest.raises(BaseModelError, match="cannot be read: No such file"):
        base.inspect(tmp_path / "absent.gguf")


def test_a_base_with_every_architecture_served_is_taken(tmp_path: Path) -> None:
    for architecture in base.ARCHITECTURES:
        path = tmp_path / f"{architecture}.gguf"
        path.write_bytes(gguf(CHAT, text("general.architecture", architecture)))
        assert base.inspect(path).text("general.architecture") == architecture


def test_locate(tmp_path: Path, tiny_base: Path) -> None:
    config_file = tmp_path / "cohorts.toml"
    assert base.locate(Base(path=str(tiny_base)), config_file) == tiny_base.resolve()
    (tmp_path / "near.gguf").write_bytes(b"")
    assert base.locate(Base(path="near.gguf"), config_file) == (tmp_path / "near.gguf").resolve()
    for absent in ("absent.gguf", "."):
        with pytest.raises(BaseModelError, match=r"cohorts\.toml: base\.path: there is no file"):
            base.locate(Base(path=absent), config_file)


def test_the_packaged_base_is_the_one_this_was_made_for(real_base: Path) -> None:
    assert base.locate(Base(), Path("cohorts.toml")) == real_base
    assert file_digest(real_base) == base.PACKAGED_DIGEST


SOURCE = Trial("as_is", 100, 10.0)


def trial(name: str, gain: float = 2.0, sure: float | None = None) -> Trial:
    return Trial(name, 100, 10.0, gain, gain if sure is None else sure)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([], "as_is"),
        ([trial("q8_0")], "q8_0"),
        ([trial("q8_0"), trial("q4_0", 3)], "q4_0"),
        ([trial("q8_0", 3), trial("q4_0")], "q8_0"),
        ([trial("q8_0", MIN_GAIN * 0.99)], "as_is"),
        ([trial("q8_0", MIN_GAIN * 1.01)], "q8_0"),
        ([trial("q8_0", 0.5)], "as_is"),
        # Faster in the middle, but not in nearly all turns: that may be the machine's noise.
        ([trial("q8_0", 2.0, sure=1.0)], "as_is"),
        ([trial("q8_0", 3.0, sure=1.0), trial("q4_0", 1.5)], "q4_0"),
        # Not timed, since it loses too much.
        ([Trial("q4_0", 100, 12.0)], "as_is"),
        ([trial("q8_0"), Trial("q4_0", 100, 12.0)], "q8_0"),
    ],
)
def test_choose(others: Sequence[Trial], chosen: str) -> None:
    assert choose([SOURCE, *others]).format == chosen


@pytest.mark.parametrize(
    ("perplexity", "timed"),
    [
        (10.0, True),
        (9.0, True),
        (10 * (1 + MAX_LOSS * 0.99), True),
        (10 * (1 + MAX_LOSS * 1.01), False),
        (nan, False),
    ],
)
def test_what_loses_too_much_is_not_timed(perplexity: float, timed: bool) -> None:
    assert admissible(SOURCE, Trial("q8_0", 100, perplexity)) is timed


MODEL = "Tiny-Model.F32.gguf"


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., PreparedBase]:
    """Prepare the tiny base in this test's home; tells what was done on `doing`."""
    source = write_base(tmp_path / MODEL)

    def run(doing: list[str] | None = None, **config: str) -> PreparedBase:
        said = [] if doing is None else doing
        wanted = Base.model_validate({"path": str(source), "format": "as_is", "threads": 1, **config})
        return base.prepare(wanted, tmp_path / "cohorts.toml", tmp_path / "base", lambda _, text: said.append(text))

    return run


def record(prepared: PreparedBase, folder: Path) -> Path:
    return folder / "base" / prepared.digest[:16] / base.RECORD


def test_the_format_is_decided_once(prepare: Callable[..., PreparedBase], tmp_path: Path) -> None:
    doing: list[str] = []
    first = prepare(doing)
    assert doing == ["measuring the base as as_is", "serving it as as_is"]
    assert (first.id, first.format, first.path) == ("tiny-model", "as_is", tmp_path / MODEL)
    assert first.digest == first.format_digest == file_digest(first.path)
    assert first.context_trained == 512
    assert first.lane_bytes(256) == 256 * 2 * 32 * 2 * 2 + (64 << 20)
    doing.clear()
    again = prepare(doing)
    assert (again, doing) == (first, [])
    assert prepare(format="auto").format == "as_is"
    assert prepare(name="mine").id == "mine"
    assert json.loads(record(first, tmp_path).read_text())["source"] == first.digest


def test_another_format_than_the_recorded_one_needs_a_decision(prepare: Callable[..., PreparedBase]) -> None:
    prepare()
    with pytest.raises(BaseModelError, match="serves the base as as_is, the configuration wants q8_0: remove"):
        prepare(format="q8_0")


def test_a_prepared_file_that_was_changed_or_lost_is_not_served(prepare: Callable[..., PreparedBase]) -> None:
    first = prepare(format="q8_0")
    assert first.format_digest == file_digest(first.path) != first.digest
    raw = bytearray(first.path.read_bytes())
    raw[-1] ^= 1
    first.path.write_bytes(raw)
    with pytest.raises(BaseModelError, match=r"base\.q8_0\.gguf is missing or was changed: remove"):
        prepare(format="q8_0")
    first.path.unlink()
    with pytest.raises(BaseModelError, match="is missing or was changed"):
        prepare(format="q8_0")


@pytest.mark.parametrize("content", ["{", "", "[1]", '{"format": "as_is"}'])
def test_a_damaged_record_is_named(content: str, prepare: Callable[..., PreparedBase], tmp_path: Path) -> None:
    path = record(prepare(), tmp_path)
    path.write_text(content)
    with pytest.raises(BaseModelError, match=f"{path} cannot be read"):
        prepare()


def test_a_base_llama_cpp_refuses_says_why(tmp_path: Path) -> None:
    path = tmp_path / "hollow.gguf"
    path.write_bytes(gguf(LLAMA, CHAT))
    with pytest.raises(BaseModelError, match="cannot be used") as caught:
        base.prepare(Base(path=str(path), threads=1), tmp_path / "c.toml", tmp_path / "base", lambda *_: None)
    assert "progress" not in caught.value.message
    assert not list((tmp_path / "base").rglob(base.RECORD))


def test_threads_are_those_of_the_process_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 2, 5})
    assert base.threads(Base(threads=2)) == 2
    assert base.threads(Base()) == 3


def test_a_header_without_sizes_gives_no_context() -> None:
    header = Header({"general.architecture": "llama"}, {})
    assert PreparedBase("x", "", header, Path("x"), "as_is", "").context_trained == 0


def test_one_called_like_a_cohort_after_its_file_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    """It would answer for every request that names the cohort."""
    shutil.copyfile(tiny_base, tmp_path / "legal.gguf")
    cohorts = {name: CohortSection(description=name, owner="x") for name in ("legal", "coding", "support")}
    config = Config(cohorts=cohorts, base=Base(path="legal.gguf", format="as_is", threads=1))

    async def prepared() -> None:
        box = app.open_home(config, tmp_path / "home", "")
        try:
            await app.prepare(box, tmp_path / "cohorts.toml", lambda *_: None)
        finally:
            await app.close(box)

    with pytest.raises(BaseModelError, match=r'the base is called "legal" .* set name in \[base\]'):
        asyncio.run(prepared())
