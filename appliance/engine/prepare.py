"""Choose the weight format in which this machine serves a base: `python -m appliance.engine.prepare SOURCE DIR`.

A child of `cohort base import`. For each format it rewrites the base, measures perplexity on a fixed English text
and the time of a typical load (a batch of four requests of 75 prompt and 32 answer tokens), and keeps the fastest
one that is clearly faster than the file as it is within the stated loss. Prints one JSON object a line: progress,
then the result. It does not judge the base itself, nor measure other loads.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.engine import llama
from appliance.engine.llama import Context, Model
from appliance.engine.sampling import score
from appliance.errors import ApplianceError, BaseModelError

AS_IS = "as_is"
CANDIDATES = ("q8_0", "q4_0")
MIN_GAIN = 1.15  # times faster than the file as it is; less is within the noise of a small box
MAX_LOSS = 0.02  # of perplexity, relative
CHUNK = 64
PROMPT, ANSWER, BATCH = 75, 32, 4


@dataclass(frozen=True, slots=True)
class Trial:
    """`prefill` and `decode` in tokens a second, the latter of four sequences together."""

    format: str
    bytes: int
    perplexity: float
    prefill: float
    decode: float

    @property
    def seconds(self) -> float:
        """Four typical requests at once."""
        return BATCH * (PROMPT / self.prefill + ANSWER / self.decode)


def choose(trials: Sequence[Trial]) -> Trial:
    """The fastest admissible trial; the first is the file as it is."""
    source = trials[0]
    admissible = [
        trial
        for trial in trials[1:]
        if trial.seconds * MIN_GAIN <= source.seconds and trial.perplexity <= source.perplexity * (1 + MAX_LOSS)
    ]
    return min(admissible, key=lambda trial: trial.seconds, default=source)


def run(
    source: Path, folder: Path, formats: Sequence[str], threads: int, gpu_layers: int
) -> Iterator[dict[str, object]]:
    """Progress as it happens, then {"chosen", "trials"}. Raises BaseModelError."""
    trials: list[Trial] = []
    for done, name in enumerate(formats):
        yield {"progress": done / len(formats), "doing": f"measuring the base as {name}"}
        path = source if name == AS_IS else folder / f"base.{name}.gguf"
        if name != AS_IS:
            llama.quantise(source, path, name, threads)
        trials.append(measure(name, path, threads, gpu_layers))
    chosen = choose(trials) if formats[0] == AS_IS else trials[0]
    for name in formats:
        if name not in (AS_IS, chosen.format):
            (folder / f"base.{name}.gguf").unlink()
    yield {"progress": 1.0, "doing": f"serving it as {chosen.format}"}
    yield {"chosen": chosen.format, "trials": [asdict(trial) for trial in trials]}


def measure(name: str, path: Path, threads: int, gpu_layers: int) -> Trial:
    """Load the model and measure it. Raises BaseModelError when its logits are not numbers."""
    model = Model(path, gpu_layers)
    context = Context(model, None, n_ctx=1024, n_seq=BATCH, n_batch=512, n_outputs=CHUNK, threads=threads)
    try:
        perplexity = _perplexity(model, context)
        if not math.isfinite(perplexity):
            raise BaseModelError(f"{path.name} gives logits that are not numbers: the file is damaged")
        return Trial(name, path.stat().st_size, perplexity, *_speed(model, context))
    finally:
        context.close()
        model.close()


def _perplexity(model: Model, context: Context) -> float:
    """Of the packaged prose, in windows of at most 512 tokens, the first CHUNK of each only read."""
    text = Path(__file__).with_name("prose.txt").read_text(encoding="ascii")
    ids = model.tokenize(text, special=False)
    window = min(512, model.n_ctx_train)
    total, count = 0.0, 0
    for start in range(0, len(ids), window):
        part = ids[start : start + window]
        for at in range(0, len(part), CHUNK):
            chunk = part[at : at + CHUNK]
            _decode(context, chunk, range(at, at + len(chunk)), [0] * len(chunk), wants=at > 0)
            following = part[at + 1 : at + 1 + len(chunk)] if at else []
            total -= sum(score(context.logits(i), token, 0).logprob for i, token in enumerate(following))
            count += len(following)
        context.clear()
    return math.exp(total / max(count, 1))


def _speed(model: Model, context: Context) -> tuple[float, float]:
    """Tokens a second: prefill of one prompt, decoding of BATCH sequences; the better of three tries each."""
    token = model.eos
    prefill, decode = 0.0, 0.0
    for _ in range(3):
        for seq in range(BATCH):
            started = time.perf_counter()
            _decode(context, [token] * PROMPT, range(PROMPT), [seq] * PROMPT, wants=False)
            prefill = max(prefill, PROMPT / (time.perf_counter() - started))
        started = time.perf_counter()
        for step in range(8):
            _decode(context, [token] * BATCH, [PROMPT + step] * BATCH, range(BATCH), wants=True)
        decode = max(decode, 8 * BATCH / (time.perf_counter() - started))
        context.clear()
    return prefill, decode


def _decode(
    context: Context, tokens: Sequence[int], positions: Sequence[int], seqs: Sequence[int], *, wants: bool
) -> None:
    if context.decode(tokens, positions, seqs, [wants] * len(tokens)) != 0:
        raise BaseModelError("llama_decode failed on the base")


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
