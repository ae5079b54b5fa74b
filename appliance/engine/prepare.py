"""Choose the weight format in which this machine serves a base: `python -m appliance.engine.prepare SOURCE DIR`.

A child of `cohort base import`. It rewrites the base in each format and measures perplexity on a fixed English text.
A format within the stated loss is then timed against the file as it is, on a typical load (a batch of four requests
of 75 prompt and 32 answer tokens), in turns, so that what else the machine does falls on both. It keeps the fastest
that is clearly faster. Prints one JSON object a line: progress, then the result. It does not judge the base itself,
nor measure other loads.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from appliance.engine import llama
from appliance.engine.llama import Context, Model
from appliance.engine.sampling import score
from appliance.engine.threads import ThreadChoice
from appliance.errors import ApplianceError, BaseModelError

AS_IS = "as_is"
CANDIDATES = ("q8_0", "q4_0")
MIN_GAIN = 1.15  # times faster than the file as it is; less is not worth a second copy of the weights
MAX_LOSS = 0.02  # of perplexity, relative
TURNS = 9  # of the two that are compared
CHUNK = 64
PROMPT, ANSWER, BATCH = 75, 32, 4


@dataclass(frozen=True, slots=True)
class Trial:
    """One format. `gain`: how many times as fast as the file as it is on the typical load, and `sure`, what all turns
    but the two worst for it reached; None where it was not timed."""

    format: str
    bytes: int
    perplexity: float
    gain: float | None = None
    sure: float | None = None


def admissible(source: Trial, trial: Trial) -> bool:
    """Whether the loss of quality is within bounds; false for a perplexity that is no number."""
    return trial.perplexity <= source.perplexity * (1 + MAX_LOSS)


def choose(trials: Sequence[Trial]) -> Trial:
    """The fastest trial that is clearly faster than the file as it is, which is the first."""
    faster = [trial for trial in trials[1:] if trial.sure is not None and trial.sure >= MIN_GAIN]
    return max(faster, key=lambda trial: trial.gain or 0.0, default=trials[0])


class Loaded:
    """A base in memory, with a context for the typical load. Use as a context manager."""

    def __init__(self, path: Path, threads: int, gpu_layers: int) -> None:
        self.path = path
        self._model = Model(path, gpu_layers)
        self._context = Context(
            self._model, None, n_ctx=1024, n_seq=BATCH, n_batch=512, n_outputs=CHUNK, threads=threads
        )
        self._threads = ThreadChoice(threads)

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()
        self._model.close()

    def perplexity(self) -> float:
        """Of the packaged prose, in windows of at most 512 tokens, the first CHUNK of each only read. Raises
        BaseModelError when the logits are not numbers."""
        text = Path(__file__).with_name("prose.txt").read_text(encoding="ascii")
        ids = self._model.tokenize(text, special=False)
        window = min(512, self._model.n_ctx_train)
        total, count = 0.0, 0
        for start in range(0, len(ids), window):
            part = ids[start : start + window]
            for at in range(0, len(part), CHUNK):
                chunk = part[at : at + CHUNK]
                self._decode(chunk, range(at, at + len(chunk)), [0] * len(chunk), wants=at > 0)
                following = part[at + 1 : at + 1 + len(chunk)] if at else []
                total -= sum(score(self._context.logits(i), token, 0).logprob for i, token in enumerate(following))
                count += len(following)
            self._context.clear()
        perplexity = math.exp(total / max(count, 1))
        if not math.isfinite(perplexity):
            raise BaseModelError(f"{self.path.name} gives logits that are not numbers: the file is damaged")
        return perplexity

    def seconds(self) -> float:
        """Of one typical load; eight of its decode steps are taken and count for all."""
        token = self._model.eos
        started = time.perf_counter()
        for seq in range(BATCH):
            self._decode([token] * PROMPT, range(PROMPT), [seq] * PROMPT, wants=False)
        prefilled = time.perf_counter()
        for step in range(8):
            self._decode([token] * BATCH, [PROMPT + step] * BATCH, range(BATCH), wants=True)
        ended = time.perf_counter()
        self._context.clear()
        return (prefilled - started) + (ended - prefilled) * ANSWER / 8

    def _decode(self, tokens: Sequence[int], positions: Sequence[int], seqs: Sequence[int], *, wants: bool) -> None:
        threads = self._threads.pick(len(tokens))
        started = time.perf_counter()
        if self._context.decode(tokens, positions, seqs, [wants] * len(tokens), threads) != 0:
            raise BaseModelError("llama_decode failed on the base")
        self._threads.note(len(tokens), threads, (time.perf_counter() - started) * 1e3)


def run(
    source: Path, folder: Path, formats: Sequence[str], threads: int, gpu_layers: int
) -> Iterator[dict[str, object]]:
    """Progress as it happens, then {"chosen", "trials"}. Raises BaseModelError."""
    trials: list[Trial] = []
    with Loaded(source, threads, gpu_layers) as as_is:
        for done, name in enumerate(formats):
            yield {"progress": done / len(formats), "doing": f"measuring the base as {name}"}
            if name == AS_IS:
                trials.append(Trial(name, source.stat().st_size, as_is.perplexity()))
                continue
            path = folder / f"base.{name}.gguf"
            llama.quantise(source, path, name, threads)
            with Loaded(path, threads, gpu_layers) as candidate:
                trials.append(_try(name, candidate, as_is, trials[0] if trials else None))
    chosen = choose(trials)
    for name in formats:
        if name not in (AS_IS, chosen.format):
            (folder / f"base.{name}.gguf").unlink()
    yield {"progress": 1.0, "doing": f"serving it as {chosen.format}"}
    yield {"chosen": chosen.format, "trials": [asdict(trial) for trial in trials]}


def _try(name: str, candidate: Loaded, as_is: Loaded, source: Trial | None) -> Trial:
    """Quality first; a format that is out, or wanted anyway (no `source` to compare with), is not timed."""
    trial = Trial(name, candidate.path.stat().st_size, candidate.perplexity())
    if source is None or not admissible(source, trial):
        return trial
    for loaded in (as_is, candidate):
        loaded.seconds()  # warms up
    gains = sorted(as_is.seconds() / candidate.seconds() for _ in range(TURNS))
    return replace(trial, gain=statistics.median(gains), sure=gains[2])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m appliance.engine.prepare", description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--formats", default=",".join((AS_IS, *CANDIDATES)))
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gpu-layers", type=int, default=0)
    args = parser.parse_args()
    llama.start()
    try:
        for line in run(args.source, args.folder, args.formats.split(","), args.threads, args.gpu_layers):
            print(json.dumps(line), flush=True)  # noqa: T201 - the parent reads it
    except (ApplianceError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
