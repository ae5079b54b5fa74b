"""llama.cpp behind a typed face: the only file that imports `llama_cpp`.

Rules that keep the process alive, since a failed GGML_ASSERT or a C++ exception ends it:
every pointer is tested for falsiness (the binding returns NULL pointer objects, never None), every limit that C
does not check is checked here, and everything but `Model.tokenize` runs on one thread.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# libgomp reads these when it is loaded. A thread that waits for others looks this often, about 20 us, then sleeps.
# Never spinning makes a step of one token on two quiet processors take 54 ms instead of 10, since there are over a
# thousand waits in it; spinning without end takes the processor from the very thread that is waited for.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # for other OpenMP runtimes
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import llama_cpp.llama_cpp as C  # noqa: N812
import numpy as np
import numpy.typing as npt

from appliance.errors import BaseModelError, EngineFault

Logits = npt.NDArray[np.float32]

_FLASH_ATTENTION_AUTO, _FLASH_ATTENTION_ON = -1, 1
# What the content of a KV cell depends on besides the weights: part of the prefix cache's key.
CONTEXT_SIGNATURE = "f16 cells, rope as trained"
_Q4_0, _Q8_0, _F16, _F32 = 2, 7, 1, 0
FILE_TYPES = {"q4_0": _Q4_0, "q8_0": _Q8_0, "f16": _F16, "f32": _F32}
_errors: list[str] = []


def _note(level: int, text: bytes, _user: object) -> None:
    """Keeps the last lines of level error: llama.cpp reports why a load failed only here."""
    if level == 4:
        _errors.append(text.decode("utf-8", "replace").strip())
        del _errors[:-5]


_log = C.llama_log_callback(_note)  # kept for the life of the process: llama.cpp holds the pointer


def start() -> None:
    """Once per process, before anything else."""
    C.llama_log_set(_log, ctypes.c_void_p(0))
    C.llama_backend_init()


def last_error() -> str:
    """What llama.cpp said last at level error, for messages."""
    return "; ".join(_errors) or "llama.cpp gave no reason"


def gpu_offload_available() -> bool:
    return bool(C.llama_supports_gpu_offload())


def system_info() -> str:
    """The instruction sets llama.cpp was compiled for and found."""
    return str(C.llama_print_system_info().decode())


def quantise(source: Path, target: Path, format_name: str, threads: int) -> None:
    """Rewrite the GGUF `source` in another weight format. Raises BaseModelError."""
    params = C.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[format_name]
    params.nthread = threads
    params.allow_requantize = True
    if C.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)) != 0:
        raise BaseModelError(f"{source.name} could not be rewritten as {format_name}: {last_error()}")


class Model:
    """One loaded GGUF base with its vocabulary. Frees nothing by itself: call `close` last."""

    def __init__(self, path: Path, gpu_layers: int = 0) -> None:
        params = C.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        self._model = C.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise BaseModelError(f"llama.cpp cannot load {path}: {last_error()}")
        self._tokenizing, self._closed = threading.Lock(), False
        self.on_gpu = gpu_layers != 0 and gpu_offload_available()
        self._vocab = C.llama_model_get_vocab(self._model)
        self.n_vocab = int(C.llama_vocab_n_tokens(self._vocab))
        self.n_ctx_train = int(C.llama_model_n_ctx_train(self._model))
        self.bos = int(C.llama_vocab_bos(self._vocab))
        self.eos = int(C.llama_vocab_eos(self._vocab))
        self.adds_bos = bool(C.llama_vocab_get_add_bos(self._vocab))
        self.pieces: list[bytes] = [self._piece(t) for t in range(self.n_vocab)]
        self.end_tokens = frozenset(t for t in range(self.n_vocab) if C.llama_vocab_is_eog(self._vocab, t))

    def close(self) -> None:
        with self._tokenizing:
            self._closed = True
            C.llama_model_free(self._model)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Use the vocabulary on another thread than the engine's: `close` does not free it meanwhile. Raises
        EngineFault when it was freed."""
        with self._tokenizing:
            if self._closed:
                raise EngineFault("the base was unloaded")
            yield

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        n = C.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        if n < 0:
            buffer = ctypes.create_string_buffer(-n)
            n = C.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        return bytes(buffer.raw[:n])

    def is_control(self, token: int) -> bool:
        return bool(C.llama_vocab_is_control(self._vocab, token))

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`; control tokens are recognised in it only when `special`. Thread-safe."""
        raw = text.encode("utf-8")
        room = len(raw) + 8
        tokens = (C.llama_token * room)()
        with self.reading():
            n = C.llama_tokenize(self._vocab, raw, len(raw), tokens, room, False, special)
        if n < 0:
            raise EngineFault(f"the tokenizer gave {-n} tokens for {len(raw)} bytes")
        return list(tokens[:n])


class Adapter:
    """A LoRA loaded onto a model. `free` only once no context holds it (use-after-free otherwise)."""

    def __init__(self, model: Model, path: Path) -> None:
        self._adapter = C.llama_adapter_lora_init(model._model, os.fsencode(path))
        if not self._adapter:
            raise EngineFault(f"llama.cpp refuses the adapter {path.name}: {last_error()}", code="adapter_refused")

    def free(self) -> None:
        C.llama_adapter_lora_free(self._adapter)


class Context:
    """A llama.cpp context bound for life to `adapter` (or to the bare base): KV memory for `n_ctx` tokens
    shared by up to `n_seq` sequences, batches of up to `n_batch` tokens of which `n_outputs` give logits."""

    def __init__(
        self,
        model: Model,
        adapter: Adapter | None,
        *,
        n_ctx: int,
        n_seq: int,
        n_batch: int,
        n_outputs: int,
        threads: int,
    ) -> None:
        params = C.llama_context_default_params()
        params.n_ctx, params.n_seq_max = n_ctx, n_seq
        params.n_batch = params.n_ubatch = n_batch
        # Sizes the logits part of the compute buffer (n_vocab * 4 bytes each); below n_seq llama.cpp aborts.
        params.n_outputs_max = max(n_outputs, n_seq)
        params.n_threads = params.n_threads_batch = threads
        # One pool of cells for all sequences: ragged batches stay one ubatch, prefix copies are metadata.
        params.kv_unified = True
        # On the CPU it skips masked cells, of which a shared pool has many; a GPU may lack the kernel for a model.
        params.flash_attn_type = _FLASH_ATTENTION_AUTO if model.on_gpu else _FLASH_ATTENTION_ON
        self._ctx = C.llama_init_from_model(model._model, params)
        if not self._ctx:
            raise EngineFault(f"llama.cpp cannot create a context of {n_ctx} tokens: {last_error()}")
        self._memory, self._threads = C.llama_get_memory(self._ctx), threads
        self.n_ctx, self.n_seq, self.n_batch = int(C.llama_n_ctx(self._ctx)), n_seq, n_batch
        self.n_outputs = max(n_outputs, n_seq)
        self._row = ctypes.c_float * model.n_vocab
        self._batch = C.llama_batch_init(n_batch, 0, 1)
        self._tokens = np.ctypeslib.as_array(self._batch.token, (n_batch,))
        self._pos = np.ctypeslib.as_array(self._batch.pos, (n_batch,))
        self._n_seq_id = np.ctypeslib.as_array(self._batch.n_seq_id, (n_batch,))
        self._logits = np.ctypeslib.as_array(self._batch.logits, (n_batch,))
        self._n_seq_id[:] = 1
        if adapter is not None:
            try:
                self._attach(adapter)
            except EngineFault:
                self.close()
                raise

    def _attach(self, adapter: Adapter) -> None:
        pointers = (C.llama_adapter_lora_p_ctypes * 1)(adapter._adapter)
        scales = (ctypes.c_float * 1)(1.0)
        if C.llama_set_adapters_lora(self._ctx, pointers, 1, scales) != 0:
            raise EngineFault(f"llama.cpp cannot attach the adapter: {last_error()}", code="adapter_refused")

    def close(self) -> None:
        """Detach before freeing: a new adapter at the freed address would otherwise count as 'unchanged'."""
        C.llama_set_adapters_lora(self._ctx, None, 0, None)
        C.llama_batch_free(self._batch)
        C.llama_free(self._ctx)

    def decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        seqs: Sequence[int],
        wants: Sequence[bool],
        threads: int | None = None,
    ) -> int:
        """One llama_decode of up to `n_batch` tokens, with as many threads as the context was made for, or fewer.

        Returns llama.cpp's code: 0 done; 1 no room in the KV memory, nothing changed; other codes are faults
        after which part of the batch may lie in memory (`drop` those sequences). Raises EngineFault on input
        that llama.cpp would answer with an abort.
        """
        n = len(tokens)
        if not 0 < n <= self.n_batch or sum(wants) > self.n_outputs:
            raise EngineFault(f"a batch of {n} tokens, {sum(wants)} outputs exceeds {self.n_batch}, {self.n_outputs}")
        if any(not 0 <= s < self.n_seq for s in seqs):
            raise EngineFault(f"sequence ids must lie below {self.n_seq}")
        self._tokens[:n], self._pos[:n], self._logits[:n] = tokens, positions, wants
        for i, seq in enumerate(seqs):
            self._batch.seq_id[i][0] = seq
        self._batch.n_tokens = n
        C.llama_set_n_threads(self._ctx, threads or self._threads, threads or self._threads)
        return int(C.llama_decode(self._ctx, self._batch))

    def logits(self, index: int) -> Logits:
        """The logits after batch token `index`: a writable view, (n_vocab,), valid until the next `decode`."""
        pointer = C.llama_get_logits_ith(self._ctx, index)
        if not pointer:
            raise EngineFault(f"no logits at batch index {index}")
        row: Any = self._row.from_address(ctypes.addressof(pointer.contents))
        return np.frombuffer(row, dtype=np.float32)

    def drop(self, seq: int, start: int = 0) -> None:
        """Forget the cells of `seq` from position `start` on."""
        C.llama_memory_seq_rm(self._memory, seq, start, -1)

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target`, which is empty, share the first `length` cells of `source`: metadata only."""
        C.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def snapshot(self, seq: int, most: int) -> bytes | None:
        """The cells of `seq` as bytes; None when they are more than `most`."""
        size = C.llama_state_seq_get_size(self._ctx, seq)
        if size > most:
            return None
        buffer = (ctypes.c_uint8 * size)()
        written = C.llama_state_seq_get_data(self._ctx, buffer, size, seq)
        return bytes(memoryview(buffer)[:written])

    def restore(self, seq: int, blob: bytes) -> bool:
        """Put cells back under `seq`; False when the memory has no room for them."""
        buffer = (ctypes.c_uint8 * len(blob)).from_buffer_copy(blob)
        return bool(C.llama_state_seq_set_data(self._ctx, buffer, len(blob), seq))

    def clear(self) -> None:
        C.llama_memory_clear(self._memory, True)


class SamplerChain:
    """llama.cpp's own samplers in the order bias, penalties, top-k, top-p, min-p, temperature, draw."""

    def __init__(self) -> None:
        self._chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
        self._prompt_penalty: object | None = None

    def bias(self, n_vocab: int, biases: dict[int, float]) -> None:
        pairs = (C.llama_logit_bias * len(biases))(*(C.llama_logit_bias(t, b) for t, b in biases.items()))
        self._add(C.llama_sampler_init_logit_bias(n_vocab, len(biases), pairs))

    def repeat_penalty(self, n_vocab: int, window: int, penalty: float) -> None:
        """Counts prompt tokens too (`see`), as llama-server and vLLM do."""
        self._prompt_penalty = C.llama_sampler_init_penalties(n_vocab, window, penalty, 0.0, 0.0)
        self._add(self._prompt_penalty)

    def answer_penalties(self, n_vocab: int, window: int, frequency: float, presence: float) -> None:
        """Counts answer tokens only, as OpenAI defines the two."""
        self._add(C.llama_sampler_init_penalties(n_vocab, window, 1.0, frequency, presence))

    def truncations(self, top_k: int, top_p: float, min_p: float, temperature: float, seed: int) -> None:
        if top_k > 0:
            self._add(C.llama_sampler_init_top_k(top_k))
        if top_p < 1:
            self._add(C.llama_sampler_init_top_p(top_p, 1))
        if min_p > 0:
            self._add(C.llama_sampler_init_min_p(min_p, 1))
        self._add(C.llama_sampler_init_temp(temperature))
        self._add(C.llama_sampler_init_dist(seed))

    def greedy(self) -> None:
        self._add(C.llama_sampler_init_greedy())

    def see(self, tokens: Sequence[int]) -> None:
        """Show prompt tokens to the repetition penalty."""
        if self._prompt_penalty is not None:
            for token in tokens:
                C.llama_sampler_accept(self._prompt_penalty, token)

    def sample(self, context: Context, index: int) -> int:
        """Draw from the logits after batch token `index` and count the token drawn."""
        return int(C.llama_sampler_sample(self._chain, context._ctx, index))

    def free(self) -> None:
        C.llama_sampler_free(self._chain)

    def _add(self, sampler: object) -> None:
        C.llama_sampler_chain_add(self._chain, sampler)
