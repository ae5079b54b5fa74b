"""Hostile adapters while clients stream: `python bench/hostile.py [--files 2000] [--seed 1] [--base BASE.gguf]`.

Serves the packaged base from a temporary home, with one promoted random release. Four clients stream answers without
a pause, one of them from the release. Meanwhile every file that `tests/adapters` makes by hand, and as many mutations
of sound adapters as asked for, go through the operator API, as `cohort release add` does it. What is accepted is
loaded into the running engine and asked, each tenth of them promoted. Counts where each file ended and how long that
took, and what became of the streams, of memory, and of what lies about afterwards. Prints a table, then one JSON
line; exits with 1 when a stream failed, a reply was not foreseen or something was left behind. It does not measure
the quality of any answer, and its times hold for a machine that streams to four clients.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # the hostile files are those of the tests

from adapters.gguf_header import Header, read
from adapters.recipe import MODULES
from appliance import base
from appliance.config import Base
from tests.adapters import bad_files
from tests.adapters.forge import lora
from tests.adapters.lies import LIES
from tests.adapters.mutations import mutations, specimen

COHORTS = ("legal", "finance", "support")
QUESTION = {"messages": [{"role": "user", "content": "What does a notary do, and why does it matter?"}]}
ALONE_SECONDS = 15
LARGE_SHARE = 40  # one file in so many is made of a whole adapter, the others of small ones


def random_adapter(header: Header, rank: int, layers: int, seed: int) -> bytes:
    """Small 16-bit weights on the linear layers of the first `layers` blocks."""
    rng, tensors = np.random.default_rng(seed), {}
    for block in range(layers):
        for name in MODULES:
            module = f"blk.{block}.{name}.weight"
            into, out = header.tensors[module].shape
            for half, shape in (("lora_a", (rank, into)), ("lora_b", (out, rank))):
                tensors[f"{module}.{half}"] = (rng.standard_normal(shape) * 0.02).astype(np.float16)
    return lora(tensors)


@dataclass
class Box:
    """The appliance as a process of its own."""

    process: subprocess.Popen[str]
    home: Path
    url: str

    def client(self) -> httpx.Client:
        key = (self.home / "admin.key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=600, trust_env=False)

    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def children(self) -> int:
        return len(psutil.Process(self.process.pid).children(recursive=True))


@contextmanager
def serving(folder: Path, model: Path) -> Iterator[Box]:
    """Ready to answer, and stopped at the end."""
    config = f'[appliance]\nport = 0\n[base]\npath = "{model}"\nformat = "as_is"\n'
    config += "".join(f'[cohorts.{name}]\ndescription = "{name}"\nowner = "bench"\n' for name in COHORTS)
    (folder / "cohorts.toml").write_text(config)
    home = folder / "home"
    environment = {**os.environ, "COHORT_HOME": str(home), "COHORT_CONFIG": str(folder / "cohorts.toml")}
    command = [sys.executable, "-m", "appliance.cli.main", "serve", "--json"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise SystemExit((folder / "log").read_text()[-2000:])
        yield Box(process, home, json.loads(line)["url"])
    finally:
        process.terminate()
        process.wait(60)


class Stream(threading.Thread):
    """Streams one answer after another until it is stopped."""

    def __init__(self, box: Box, model: str, release: str) -> None:
        super().__init__(daemon=True)
        self._box, self._model, self._release = box, model, release
        self.stopping = threading.Event()
        self.answers, self.events, self.longest_gap = 0, 0, 0.0
        self.failures: list[str] = []

    def run(self) -> None:
        with self._box.client() as client:
            while not self.stopping.is_set():
                try:
                    self._answer(client)
                except (httpx.HTTPError, LookupError, ValueError) as error:
                    self.failures.append(repr(error)[:300])
                    time.sleep(0.1)

    def _answer(self, client: httpx.Client) -> None:
        body = {**QUESTION, "model": self._model, "max_tokens": 64, "stream": True, "ignore_eos": True}
        last = time.monotonic()
        with client.stream("POST", "/v1/chat/completions", json=body) as reply:
            if reply.status_code != 200 or reply.headers["x-release"] != self._release:
                raise ValueError(f"{reply.status_code} {dict(reply.headers)} {reply.read()!r}")
            events = []
            for line in reply.iter_lines():
                if line.startswith("data: "):
                    now = time.monotonic()
                    self.longest_gap, last = max(self.longest_gap, now - last), now
                    self.events += 1
                    events.append(line.removeprefix("data: "))
        if events[-1] != "[DONE]":
            raise ValueError(f"the stream ended with {events[-1]}")
        self.answers += 1


@dataclass
class Pace:
    """What all streams got over some time: events a second (about one a token), and the longest wait for one."""

    events_per_s: float
    longest_gap_s: float


@contextmanager
def paced(streams: Sequence[Stream]) -> Iterator[Pace]:
    """Told once the block has ended."""
    pace = Pace(0, 0)
    before, began = sum(s.events for s in streams), time.monotonic()
    for stream in streams:
        stream.longest_gap = 0.0
    yield pace
    pace.events_per_s = (sum(s.events for s in streams) - before) / (time.monotonic() - began)
    pace.longest_gap_s = max(s.longest_gap for s in streams)


@dataclass
class Findings:
    """Seconds by where a file ended, replies nobody foresaw, and what accepted files answered."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    kinds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unforeseen: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    memory: list[int] = field(default_factory=list)
    alone: Pace = field(default_factory=lambda: Pace(0, 0))
    beside: Pace = field(default_factory=lambda: Pace(0, 0))

    def submit(self, client: httpx.Client, kind: str, path: Path) -> None:
        """Have a file added; if it is taken, ask it."""
        live = self.accepted % 10 == 9
        started = time.monotonic()
        reply = client.post("/admin/v1/releases", json={"path": str(path), "cohort": "support", "live": live})
        end = ended(reply)
        self.seconds[end].append(time.monotonic() - started)
        self.kinds[kind][end] += 1
        if end == "unforeseen":
            self.unforeseen.append(f"{kind}: {reply.status_code} {reply.text[:300]}")
        if end == "accepted":
            self.accepted += 1
            self._ask(client, f"support@{reply.json()['version']}", kind)

    def _ask(self, client: httpx.Client, release: str, kind: str) -> None:
        """It may be nonsense, and it may fail of itself; it must not hurt others."""
        started = time.monotonic()
        reply = client.post("/v1/chat/completions", json={**QUESTION, "model": release, "max_tokens": 4})
        self.seconds["loaded and asked"].append(time.monotonic() - started)
        code = "ok" if reply.status_code == 200 else str(reply.json()["error"]["code"])
        self.answers[code] += 1
        if code not in ("ok", "not_finite"):
            self.unforeseen.append(f"{kind} answered {reply.status_code} {reply.text[:300]}")


def ended(reply: httpx.Response) -> str:
    """Where the appliance stopped believing in a file."""
    if reply.status_code == 201:
        return "accepted"
    message = reply.json()["error"]["message"]
    if reply.status_code == 409 and "already" in message:
        return "known already"
    if reply.status_code != 400:
        return "unforeseen"
    if "not a usable GGUF" in message:
        return "refused by header limits"
    if "llama.cpp could not use it" in message:
        return "refused by the child"
    return "refused by inspection" if "is refused" in message else "refused as no file"


def hostile_files(folder: Path, model: Path, count: int, seed: int) -> Iterator[tuple[str, Path]]:
    """Kinds and paths: what is made by hand, then the mutations."""
    header = read(model)
    module, path = bad_files.module_of(header), folder / "hostile.gguf"
    (folder / "places").mkdir()
    for what, (place, _) in bad_files.places(folder / "places").items():
        yield f"by hand: {what}", place
    yield "by hand: the base itself", model
    made = {what: make(module) for what, (make, _) in (bad_files.UNFIT | bad_files.OVERFLOWING).items()}
    for what, content in (LIES | made).items():
        path.write_bytes(content)
        yield f"by hand: {what}", path
    small = [specimen(random_adapter(header, 1, 1, seed)), specimen(lora(module.pair(rank=1)))]
    specimens = small * (LARGE_SHARE // 2) + [specimen(random_adapter(header, 16, module.layers, seed))]
    for kind, content in mutations(specimens, seed, count):
        path.write_bytes(content)
        yield kind, path


def measure(box: Box, folder: Path, model: Path, count: int, seed: int) -> tuple[Findings, list[Stream]]:
    """The streams alone for a while, then everything at once."""
    good, header = folder / "good.gguf", read(model)
    good.write_bytes(random_adapter(header, 16, bad_files.module_of(header).layers, 99))
    findings = Findings()
    with box.client() as client:
        body = {"path": str(good), "cohort": "legal", "live": True}
        client.post("/admin/v1/releases", json=body).raise_for_status()
        streams = [Stream(box, *where) for where in (("legal", "legal@1"), *[("base", "base")] * 3)]
        for stream in streams:
            stream.start()
        with paced(streams) as findings.alone:
            time.sleep(ALONE_SECONDS)
        with paced(streams) as findings.beside:
            for number, (kind, path) in enumerate(hostile_files(folder, model, count, seed)):
                findings.memory.append(box.memory())
                findings.submit(client, kind, path)
                if number % 100 == 99:
                    print(f"{number + 1} files, {findings.memory[-1] >> 20} MB", file=sys.stderr)
        for stream in streams:
            stream.stopping.set()
        for stream in streams:
            stream.join()
    return findings, streams


def row(name: str, seconds: list[float]) -> dict[str, object]:
    ms = sorted(1e3 * s for s in seconds)
    p95 = ms[min(len(ms) - 1, int(0.95 * len(ms)))]
    return {"end": name, "files": len(ms), "p50_ms": statistics.median(ms), "p95_ms": p95, "max_ms": ms[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200, help="mutations beside those made by hand")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--base", type=Path, default=None)
    options = parser.parse_args()
    model = options.base or base.locate(Base(), Path("cohorts.toml"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, serving(Path(name), model.resolve()) as box:
        findings, streams = measure(box, Path(name), model, options.files, options.seed)
        left = {
            "processes": box.children(),
            "staging_folders": len(list((box.home / "releases").glob(".*"))),
            "folders_of_refused": len(list((box.home / "releases").glob("[!.]*"))) - findings.accepted - 1,
        }
    memory = [size >> 20 for size in findings.memory]
    failures = [failure for stream in streams for failure in stream.failures]
    print(f"{'':26} {'files':>6} {'p50':>9} {'p95':>9} {'max':>9}")
    rows = [row(end, seconds) for end, seconds in sorted(findings.seconds.items())]
    for r in rows:
        print(f"{r['end']:26} {r['files']:6} {r['p50_ms']:6.0f} ms {r['p95_ms']:6.0f} ms {r['max_ms']:6.0f} ms")
    result = {
        "bench": "hostile",
        "base": model.name,
        "by_hand": sum(kind.startswith("by hand") for kind in findings.kinds),
        "mutated": options.files,
        "rows": rows,
        "by_kind": {kind: ends for kind, ends in findings.kinds.items() if not kind.startswith("by hand")},
        "answers_of_accepted": findings.answers,
        "streamed_answers": sum(s.answers for s in streams),
        "streams_alone": vars(findings.alone),
        "streams_beside": vars(findings.beside),
        "live_failures": len(failures),
        "unforeseen": findings.unforeseen,
        "memory_mb": {"first": memory[0], "last": memory[-1], "most": max(memory)},
        "left": left,
        "seconds": time.monotonic() - began,
    }
    for name, pace in (("alone", findings.alone), ("beside", findings.beside)):
        print(f"streams {name}: {pace.events_per_s:.1f} events/s, longest gap {pace.longest_gap_s:.2f} s")
    print(f"{result['streamed_answers']} streamed answers, {len(failures)} failed; left behind: {left}")
    for failure in failures[:5] + findings.unforeseen[:5]:
        print(f"  {failure}")
    print(json.dumps(result))
    sys.exit(bool(failures or findings.unforeseen or any(left.values())))


if __name__ == "__main__":
    main()
