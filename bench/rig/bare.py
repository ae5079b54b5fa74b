"""A loop over llama_decode and nothing else: what the engine's steps cost without scheduler, sampler, HTTP and log.

python -m rig.bare BASE ADAPTER CLIENTS PROMPT ANSWER WAVES prints tokens a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from appliance.engine import llama
from appliance.engine.llama import Adapter, Context, Model


def run(base: Path, adapter: Path, clients: int, prompt: int, answer: int, waves: int) -> float:
    """In a process of its own, under the thread and wait policy of the engine."""
    numbers = [str(number) for number in (clients, prompt, answer, waves)]
    child = subprocess.run(
        [sys.executable, "-m", "rig.bare", str(base), str(adapter), *numbers],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return float(child.stdout)


def _wave(context: Context, model: Model, clients: int, prompt: int, answer: int, seed: int) -> None:
    """All prompts in batches of 512, then all sequences together, one greedy token a step."""
    first = [(seed + 7 * n) % model.n_vocab for n in range(clients)]
    rows = [
        ((first[s] + 31 * p) % model.n_vocab, p, s, p == prompt - 1) for s in range(clients) for p in range(prompt)
    ]
    following: dict[int, int] = {}
    for start in range(0, len(rows), 512):
        batch = rows[start : start + 512]
        _decode(context, batch)
        following |= {row[2]: int(context.logits(i).argmax()) for i, row in enumerate(batch) if row[3]}
    for step in range(answer - 1):
        _decode(context, [(following[s], prompt + step, s, True) for s in range(clients)])
        following = {s: int(context.logits(s).argmax()) for s in range(clients)}
    context.clear()


def _decode(context: Context, batch: list[tuple[int, int, int, bool]]) -> None:
    tokens, positions, sequences, wants = zip(*batch, strict=True)
    if context.decode(tokens, positions, sequences, wants) != 0:
        raise SystemExit("llama_decode failed")


def main() -> None:
    base, adapter = map(Path, sys.argv[1:3])
    clients, prompt, answer, waves = map(int, sys.argv[3:])
    llama.start()
    model = Model(base)
    threads = len(os.sched_getaffinity(0))
    context = Context(
        model, Adapter(model, adapter), n_ctx=4096, n_seq=32, n_batch=512, n_outputs=64, threads=threads
    )
    _wave(context, model, clients, prompt, answer, 1)
    started = time.perf_counter()
    for wave in range(waves):
        _wave(context, model, clients, prompt, answer, 2 + wave)
    print(clients * answer * waves / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
