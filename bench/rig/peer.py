"""llama.cpp's own HTTP server out of the wheel `xllamacpp`, run in that wheel's environment until terminated.

python peer.py BASE PORT SLOTS CONTEXT THREADS ADAPTER...
"""

import signal
import sys

import xllamacpp


def main() -> None:
    base, port, slots, context, threads, *adapters = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = base
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_parallel = int(slots)
    params.kv_unified = True
    params.n_ctx = int(context)
    params.cpuparams.n_threads = int(threads)
    params.cpuparams_batch.n_threads = int(threads)
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in adapters]
    server = xllamacpp.Server(params)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server


if __name__ == "__main__":
    main()
