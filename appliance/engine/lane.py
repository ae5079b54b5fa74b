"""A lane: one llama.cpp context bound for life to one release (or to the bare base), and the sequences in it.

Each step decodes one token of every running sequence together with a chunk of the oldest prompts (continuous
batching, Yu et al. 2022, "Orca"; chunked prefill, Agrawal et al. 2023, "Sarathi"). A full KV memory parks the
youngest sequence, which later computes its tokens again; nobody fails of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from appliance.engine.llama import Adapter, Context, Model
from appliance.engine.memory import Memory, need
from appliance.engine.prefix_cache import Snapshots, StateKey
from appliance.engine.sampling import NOT_FINITE, Sampler, score
from appliance.engine.scheduler import Share
from appliance.engine.sequence import Failed, FinishReason, PromptScores, Sequence, SequenceRequest
from appliance.engine.threads import ThreadChoice
from appliance.errors import ApplianceError, DeadlineExceeded, EngineFault

STEP_TARGET_MS = 120  # a prefill chunk beside decoding sequences is cut to about this
PROMPT_STEP_MS = 400  # and one alone to this: other lanes and cancellations wait for a step
MIN_CHUNK = 32


@dataclass(frozen=True, slots=True)
class LaneShape:
    """`context` tokens of KV memory for up to `sequences` at once, and the ended ones in what is left of `sequences`
    and `kept` slots; batches of `batch` tokens with `outputs` rows."""

    context: int
    sequences: int = 16
    kept: int = 16
    batch: int = 512
    outputs: int = 64
    threads: int = 2


@dataclass(slots=True)
class _Row:
    """One row of a batch: which sequence, which position, and whether its logits are wanted."""

    sequence: Sequence
    position: int
    wants: bool


class Lane:
    """Not thread-safe: lives on the engine thread."""

    def __init__(
        self,
        key: StateKey,
        model: Model,
        adapter: Adapter | None,
        shape: LaneShape,
        share: Share,
        snapshots: Snapshots,
        threads: ThreadChoice,
    ) -> None:
        self.key, self.share = key.release, share
        self._model, self._adapter, self._shape = model, adapter, shape
        self._context = Context(
            model,
            adapter,
            n_ctx=shape.context,
            n_seq=shape.sequences + shape.kept,
            n_batch=shape.batch,
            n_outputs=shape.outputs,
            threads=shape.threads,
        )
        self._memory = Memory(self._context, key, snapshots)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._threads = threads  # of all lanes: what a step of a size takes depends little on the adapter
        self._prefill_ms = 1.0  # a prompt token's cost, smoothed
        self.strikes, self.last_fault = 0, ""  # faults in a row, with no good answer between
        self._warm_up()

    def _warm_up(self) -> None:
        """The first decode reserves the graph with the adapter in it, which may fail: better here than live."""
        if self._context.decode([self._model.eos], [0], [0], [True]) != 0:
            self._context.close()
            raise EngineFault("the lane's first decode failed", code="adapter_refused")
        self._context.clear()

    def close(self) -> None:
        self._context.close()
        if self._adapter is not None:
            self._adapter.free()

    # -- membership ---------------------------------------------------------------------------------------------

    def has_work(self, *, background: bool) -> bool:
        return any(s.request.background is background for s in (*self.running, *self.waiting))

    def sweep(self, now: float) -> list[Sequence]:
        """Remove cancelled and expired sequences; returns them. The expired are told."""
        gone = [s for s in (*self.running, *self.waiting) if s.cancelled or s.request.deadline <= now]
        for sequence in gone:
            self._remove(sequence)
            if not sequence.cancelled:
                sequence.sink(Failed(DeadlineExceeded("the request's deadline passed before its answer was done")))
        return gone

    def fail_all(self, error: ApplianceError) -> list[Sequence]:
        """After a fault: every sequence in memory fails and the memory is cleared; the waiting stay, unless there
        was none in memory to blame."""
        gone = list(self.running) or list(self.waiting)
        (self.running or self.waiting).clear()
        self._memory.clear()
        for sequence in gone:
            sequence.slot, sequence.n_past = None, 0
            if sequence.sampler is not None:
                sequence.sampler.free()
            sequence.sink(Failed(error))
        return gone

    def strike(self, fault: str) -> None:
        """Note a step that failed."""
        self.strikes, self.last_fault = self.strikes + 1, fault

    def _remove(self, sequence: Sequence, *, keep: bool = True) -> None:
        if sequence.slot is None:
            self.waiting.remove(sequence)
        else:
            self.running.remove(sequence)
            self._memory.leave(sequence, keep=keep)
        if sequence.sampler is not None:
            sequence.sampler.free()

    def _park(self, sequence: Sequence) -> None:
        """Back to waiting, its cells free; what it has generated is part of its prompt next time."""
        self.running.remove(sequence)
        self._memory.leave(sequence, keep=False)
        self.waiting.appendleft(sequence)

    # -- one step -----------------------------------------------------------------------------------------------

    def step(self, *, background: bool, on_admit: Callable[[Sequence], None]) -> list[Sequence]:
        """Admit, decode one batch, hand out what it gave. Returns the sequences that ended.

        Raises EngineFault when llama.cpp failed; the caller then calls `fail_all`.
        """
        self._admit(background, on_admit)
        rows = self._plan(background)
        if not rows:
            return []
        return self._hand_out(rows) if self._decode(rows) else []

    def _admit(self, background: bool, on_admit: Callable[[Sequence], None]) -> None:
        """First come first served among the class at work; a foreground sequence may send background ones back."""
        for sequence in [s for s in self.waiting if s.request.background is background]:
            if self._full(background):
                return
            if self._memory.coming(sequence):
                return  # those behind it wait too: they would be computed after it, and might take its room
            while not self._fits(sequence):
                if background or not self._park_background():
                    return
            self._memory.enter(sequence)
            self.waiting.remove(sequence)
            self.running.append(sequence)
            if not sequence.admitted:
                sequence.sampler = self._sampler(sequence.request)
                sequence.admitted = time.monotonic()
                on_admit(sequence)

    def _sampler(self, request: SequenceRequest) -> Sampler | None:
        if not request.max_new:
            return None
        return Sampler(self._model, self._context.n_ctx, request.sampling, request.prompt, request.constraint)

    def _full(self, background: bool) -> bool:
        """Whether no slot is free for this class, nor could be made so: where most steps end, at no cost."""
        return sum(background or not s.request.background for s in self.running) >= self._shape.sequences

    def _fits(self, sequence: Sequence) -> bool:
        reserved = sum(map(need, self.running))
        return len(self.running) < self._shape.sequences and self._memory.make_room(sequence, reserved)

    def _park_background(self) -> bool:
        for sequence in reversed(self.running):
            if sequence.request.background:
                self._park(sequence)
                return True
        return False

    def _plan(self, background: bool) -> list[_Row]:
        """The rows of the next batch: all decoding sequences, then prompts, oldest first."""
        active = [s for s in self.running if s.request.background is background]
        rows = [_Row(s, s.n_past, True) for s in active if s.decoding]
        room = min(self._chunk(STEP_TARGET_MS if rows else PROMPT_STEP_MS), self._shape.batch - len(rows))
        outputs = self._context.n_outputs - len(rows)
        for sequence in active:
            if sequence.decoding:
                continue
            for position in range(sequence.n_past, min(len(sequence.tokens), sequence.n_past + room)):
                wants = sequence.wants_logits(position)
                if wants and outputs == 0:
                    return rows
                outputs -= wants
                room -= 1
                rows.append(_Row(sequence, position, wants))
        return rows

    def _chunk(self, target_ms: float) -> int:
        return max(MIN_CHUNK, int(target_ms / self._prefill_ms))

    def _decode(self, rows: list[_Row]) -> bool:
        """Run one batch. False when the memory had no room, and some was made."""
        threads = self._threads.pick(len(rows))
        started = time.perf_counter()
        code = self._context.decode(
            [r.sequence.tokens[r.position] for r in rows],
            [r.position for r in rows],
            [r.sequence.slot or 0 for r in rows],
            [r.wants for r in rows],
            threads,
        )
        if code == 0:
            self._note_cost(len(rows), threads, (time.perf_counter() - started) * 1e3)
            for row in rows:
                row.sequence.n_past = row.position + 1
            return True
        if code == 1 and self._memory.evict_one():
            return False
        if code == 1 and len(self.running) > 1:
            if not self._park_background():
                self._park(self.running[-1])
            return False
        raise EngineFault(f"llama_decode answered {code}")

    def _note_cost(self, rows: int, threads: int, ms: float) -> None:
        self._threads.note(rows, threads, ms)
        if rows >= MIN_CHUNK:  # mostly prompt tokens then
            self._prefill_ms += 0.2 * (ms / rows - self._prefill_ms)

    def _hand_out(self, rows: list[_Row]) -> list[Sequence]:
        """Use the logits that were wanted; a fault of one sequence ends that one alone."""
        ended: list[Sequence] = []
        answered, fault = False, ""
        for index, row in enumerate(rows):
            if row.sequence in ended:
                continue
            try:
                done, sound = self._use(row, index), True
                answered = answered or done
            except ApplianceError as error:
                row.sequence.sink(Failed(error))
                done, sound = True, False
                live = not row.sequence.request.background  # an eval row may be any cohort's
                if live and error.code == NOT_FINITE:
                    fault = error.message
            if done:
                self._remove(row.sequence, keep=sound)
                ended.append(row.sequence)
        if answered:
            self.strikes = 0
        elif fault:
            self.strike(fault)
        return ended

    def _use(self, row: _Row, index: int) -> bool:
        """Score or sample at one row. True when its sequence is done."""
        sequence = row.sequence
        if row.wants and row.position + 1 < len(sequence.tokens):
            sequence.score_prompt(row.position, self._context.logits(index))
        if sequence.left or row.position + 1 < len(sequence.tokens):
            return False
        if sequence.prompt_scores and not sequence.generated:
            sequence.sink(PromptScores(tuple(sequence.prompt_scores)))
        if not sequence.request.max_new:
            return self._finish(sequence, "length")
        return self._sample(sequence, index)

    def _sample(self, sequence: Sequence, index: int) -> bool:
        assert sequence.sampler is not None  # noqa: S101 - set at admission
        row = self._context.logits(index)
        before = None if sequence.request.logprobs is None else row.copy()
        token = sequence.sampler.next(self._context, index, row)
        scored = None if before is None else score(before, token, sequence.request.logprobs or 0)
        sequence.first_token = sequence.first_token or time.monotonic()
        delta, reason = sequence.take(token, scored, self._model)
        sequence.sink(delta)
        return reason is not None and self._finish(sequence, reason)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> bool:
        rest = sequence.text.end()
        if rest.text or rest.scores:
            sequence.sink(rest)
        sequence.sink(sequence.finished(reason, time.monotonic()))
        return True
