"""A lane's KV memory: who has which sequence id, what is kept of the ended, and who has to go when room is short."""

from __future__ import annotations

import numpy as np

from appliance.engine.llama import Context
from appliance.engine.prefix_cache import SHORTEST, Resident, Residents, Snapshot, Snapshots, StateKey, common
from appliance.engine.sequence import Sequence

WORTH_WAITING = 64  # tokens that another sequence is about to compute
RESERVE = 256  # cells kept free for an answer at admission; longer answers may be parked
RESIDENT = 128  # cells of ended sequences beyond which the older go to RAM: each slows the steps of the others


def need(sequence: Sequence) -> int:
    """Cells to keep for a sequence: what it has and what it is about to add."""
    return len(sequence.tokens) + min(sequence.request.max_new - sequence.generated, RESERVE)


class Memory:
    """Slots and cells of one context. `key` names all that the cells depend on but partition and tokens."""

    def __init__(self, context: Context, key: StateKey, snapshots: Snapshots) -> None:
        self._context, self._key, self._snapshots = context, key, snapshots
        self._slots = list(range(context.n_seq))
        self._residents = Residents()
        self._active: list[Sequence] = []

    def make_room(self, sequence: Sequence, reserved: int) -> bool:
        """Let kept cells go, the least useful first, until the sequence fits beside `reserved` cells."""
        if reserved + need(sequence) > self._context.n_ctx:
            return False  # whatever is let go
        best, held = self._lookup(sequence)
        taken = best is not None and _takes_over(best, held)
        while True:
            own = len(best.tokens) if best is not None and taken else 0
            fits = reserved + self._residents.cells - own + need(sequence) <= self._context.n_ctx
            if fits and (self._slots or taken):
                return True
            victim = self._residents.oldest(spare=best)
            if victim is not None:
                self._evict(victim)
            elif best is not None and not taken:
                # Only the source is left: keep the part that is wanted, which the sequence then takes over.
                self._save(best)
                self._context.drop(best.slot, held)
                best.tokens, taken = best.tokens[:held], True
            else:
                return False

    def coming(self, sequence: Sequence) -> bool:
        """Whether a running sequence is about to compute a beginning that is worth waiting for: then many questions
        under one system prompt, or the choices of one question, compute it once."""
        prompt, limit = sequence.ids, _reusable(sequence)
        return any(
            other.request.partition == sequence.request.partition
            and other.request.background == sequence.request.background
            and min(common(other.ids, prompt), limit) - other.n_past >= WORTH_WAITING
            for other in self._active
        )

    def enter(self, sequence: Sequence) -> None:
        """Give it a slot, with what is already computed of its tokens."""
        best, held = self._lookup(sequence)
        if best is not None and _takes_over(best, held):
            self._residents.remove(best)
            self._context.drop(best.slot, held)
            sequence.slot = best.slot
        else:
            sequence.slot = self._slots.pop()
        sequence.n_past = self._fill(best, held, sequence)
        if not sequence.admitted:  # one that was parked finds what it computed itself
            sequence.reused = sequence.n_past
        self._active.append(sequence)

    def leave(self, sequence: Sequence, *, keep: bool) -> None:
        """Take its slot back; `keep` what is computed for those who begin alike."""
        slot, computed = sequence.slot, sequence.n_past
        assert slot is not None  # noqa: S101 - callers hold running sequences only
        self._active.remove(sequence)
        sequence.slot, sequence.n_past = None, 0
        if keep and computed >= SHORTEST:
            tokens = np.asarray(sequence.tokens[:computed], np.int32)
            newest = Resident(slot, sequence.request.partition, tokens)
            self._residents.keep(newest)
            self._trim(newest)
        else:
            self._release(slot)

    def evict_one(self) -> bool:
        """Let the least recently used kept cells go. False when nothing is kept."""
        victim = self._residents.oldest()
        if victim is not None:
            self._evict(victim)
        return victim is not None

    def clear(self) -> None:
        """Forget everything, after a fault: the cells cannot be trusted."""
        self._slots = list(range(self._context.n_seq))
        self._residents, self._active = Residents(), []
        self._context.clear()

    def _lookup(self, sequence: Sequence) -> tuple[Resident | None, int]:
        return self._residents.best(sequence.request.partition, sequence.ids, _reusable(sequence))

    def _fill(self, best: Resident | None, held: int, sequence: Sequence) -> int:
        """Fill the sequence's slot from whatever holds most: a resident (its own slot, if it took one over), a
        running sequence, or RAM. Returns the tokens filled."""
        assert sequence.slot is not None  # noqa: S101
        source = best.slot if best else None
        partition, prompt, limit = sequence.request.partition, sequence.ids, _reusable(sequence)
        for other in self._active:
            if other.request.partition != partition:
                continue
            shared = min(common(other.ids[: other.n_past], prompt), limit)
            if shared > max(held, SHORTEST - 1):
                source, held = other.slot, shared
        snapshot, stored = self._snapshots.best(self._key, partition, prompt, limit)
        if snapshot is not None and stored > held:
            if self._context.restore(sequence.slot, snapshot.blob):
                self._context.drop(sequence.slot, stored)
                return stored
            if source == sequence.slot:
                return 0  # a restore that fails has emptied its target
        if source is not None and source != sequence.slot:
            self._context.drop(sequence.slot)
            self._context.copy(source, sequence.slot, held)
        return held

    def _trim(self, newest: Resident) -> None:
        """While others run, let older ones go to RAM, if there is any, until what is kept slows steps little."""
        while self._active and self._snapshots.cap and self._residents.cells > RESIDENT:
            victim = self._residents.oldest(spare=newest)
            if victim is None:
                return
            self._evict(victim)

    def _evict(self, resident: Resident) -> None:
        self._save(resident)
        self._residents.remove(resident)
        self._release(resident.slot)

    def _save(self, resident: Resident) -> None:
        """Copy it to RAM, where that is worth it."""
        if not self._snapshots.wants(len(resident.tokens)):
            return
        blob = self._context.snapshot(resident.slot, self._snapshots.cap)
        if blob is not None:
            self._snapshots.keep(Snapshot(self._key, resident.partition, resident.tokens, blob))

    def _release(self, slot: int) -> None:
        self._context.drop(slot)
        self._slots.append(slot)


def _reusable(sequence: Sequence) -> int:
    """Tokens that need not be computed: not the last, for its logits, nor any whose logits score the next one."""
    last = len(sequence.tokens) - 1
    return last if sequence.request.score_from is None else min(last, sequence.request.score_from - 1)


def _takes_over(resident: Resident, held: int) -> bool:
    """A conversation that goes on takes its cells over; a shared beginning is copied and stays."""
    return held >= 0.9 * len(resident.tokens)
