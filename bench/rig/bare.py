"""A loop over llama_decode and nothing else: what the engine's steps cost without scheduler, sampler, HTTP and log.

python -m rig.bare BASE ADAPTER CLIENTS PROMPT ANSWER COUNT prints tokens a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from appliance.engine import llama
from appliance.engine.llama import Adapter, Context, Model

BESIDE, ALONE = 32, 100  # prompt tokens of a batch, as the engine's bounds on a step's milliseconds give them here


def run(base: Path, adapter: Path, clients: int, prompt: int, answer: int, count: int) -> float:
    """In a process of its own, under the thread and wait policy of the engine."""
    numbers = [str(number) for number in (clients, prompt, answer, count)]
    child = subprocess.run(
        [sys.executable, "-m", "rig.bare", str(base), str(adapter), *numbers],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return float(child.stdout)


def _loop(context: Context, model: Model, clients: int, prompt: int, answer: int, count: int) -> None:
    """`count` sequences, `clients` at a time, in batches as the engine makes them: one greedy token of each that
    decodes, and a chunk of the oldest prompt."""
    waiting = deque(range(count))
    past: dict[int, int] = {}
    following: dict[int, int] = {}
    slots: dict[int, int] = {}
    while waiting or past:
        while waiting and len(past) < clients:
            sequence = waiting.popleft()
            past[sequence] = 0
            slots[sequence] = min(set(range(clients)) - {slots[s] for s in past if s in slots})
        rows = [(following[s], past[s], s) for s in past if past[s] >= prompt]
        room = BESIDE if rows else ALONE
        for s in [s for s in past if past[s] < prompt]:
            chunk = range(past[s], min(prompt, past[s] + room))
            rows += [((7 * s + 31 * p) % model.n_vocab, p, s) for p in chunk]
            room -= len(chunk)
        _decode(context, [(token, p, slots[s], p >= prompt - 1) for token, p, s in rows])
        for index, (_, p, s) in enumerate(rows):
            past[s] = p + 1
            if p >= prompt - 1:
                following[s] = int(context.logits(index).argmax())
            if past[s] == prompt + answer - 1:
                context.drop(slots[s])
                del past[s]


def _decode(context: Context, batch: list[tuple[int, int, int, bool]]) -> None:
    tokens, positions, sequences, wants = zip(*batch, strict=True)
    if context.decode(tokens, positions, sequences, wants) != 0:
        raise SystemExit("llama_decode failed")


def main() -> None:
    base, adapter = map(Path, sys.argv[1:3])
    clients, prompt, answer, count = map(int, sys.argv[3:])
    llama.start()
    model = Model(base)
    threads = len(os.sched_getaffinity(0))
    context = Context(
        model, Adapter(model, adapter), n_ctx=4096, n_seq=32, n_batch=512, n_outputs=64, threads=threads
    )
    _loop(context, model, clients, prompt, answer, clients)
    started = time.perf_counter()
    _loop(context, model, clients, prompt, answer, count)
    print(count * answer / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
