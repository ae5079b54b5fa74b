"""How the appliance scales: `python bench/curves.py [--repeat 2]`.

On the packaged base with random adapters (rank 16, all linear layers), each point a niced closed loop of streaming
clients: tokens a second and the time to the first token for 1 to 8 cohorts (8 clients), for 1 to 32 clients (one
cohort), and for prompts of 64 to 2,048 tokens (4 clients); resident memory for 0 to 8 lanes; and what the prepared
weight format (Q8_0) adds to the file as it is, in turns. Prints tables, then one JSON line. No quality is measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil
from rig import adapters, load, prompts, servers
from rig.load import Done
from rig.servers import NAMES, Server

from appliance import base
from appliance.config import Base

PROMPT, ANSWER = 75, 32
Point = dict[str, float]


def point(server: Server, clients: int, cohorts: int, prompt: int, seed: int, answer: int = ANSWER) -> Point:
    """Three requests a client, spread evenly over the cohorts."""
    shares = dict.fromkeys(NAMES[:cohorts], max(1, 3 * clients // cohorts))
    done: list[Done] = load.run(server, clients, prompts.mix(shares, seed, prompt, answer))
    failed = sum(d.status != 200 or d.tokens != answer for d in done)
    tails = [load.quantile([d.ttft for d in done], share) for share in (0.5, 0.95)]
    return {
        "tokens_per_second": load.tokens_per_second(done),
        "ttft_p50": tails[0],
        "ttft_p95": tails[1],
        "failed": failed,
    }


def curve(title: str, values: tuple[int, ...], repeat: int, measure: Callable[[int, int], Point]) -> dict[int, Point]:
    """The median point of each value; the values take turns."""
    runs: dict[int, list[Point]] = {value: [] for value in values}
    for turn in range(repeat):
        for value in values:
            runs[value].append(measure(value, 1000 * turn + value))
    points = {
        value: {key: statistics.median(p[key] for p in runs[value]) for key in runs[value][0]} for value in values
    }
    print(f"{title:16}{'tokens/s':>10}{'TTFT p50, s':>13}{'p95, s':>9}{'failed':>8}")
    for value, at in points.items():
        print(
            f"{value:<16}{at['tokens_per_second']:10.1f}{at['ttft_p50']:13.2f}{at['ttft_p95']:9.2f}{at['failed']:8.0f}"
        )
    return points


def memory(server: Server, files: list[Path]) -> dict[str, float]:
    """Megabytes resident: the base alone, then with one more release live each time."""
    process = psutil.Process(server.pid)
    resident = [process.memory_info().rss / 1e6]
    for name, file in zip(NAMES, files, strict=True):
        servers.cohort(server, "release", "add", str(file), "--cohort", name, "--live")
        load.run(server, 1, prompts.mix({name: 1}, 5, PROMPT, 4))
        resident.append(process.memory_info().rss / 1e6)
    lanes = [after - before for before, after in pairwise(resident)]
    print(f"resident {resident[0]:.0f} MB with the base, {statistics.median(lanes):.0f} MB for each lane in use")
    return {"base_mb": resident[0], "lane_mb": statistics.median(lanes)}


def formats(folder: Path, model: Path, file: Path, plain: Server, repeat: int) -> list[float]:
    """Tokens a second of Q8_0 to those of the file as it is: median and interval."""
    with servers.appliance(folder, model, [file], format="q8_0", context=4096) as prepared:
        ratios = []
        for turn in range(max(3, repeat)):
            speeds = [point(s, 8, 1, PROMPT, 77 + turn)["tokens_per_second"] for s in (plain, prepared)]
            ratios.append(speeds[1] / speeds[0])
    print(f"Q8_0 to the file as it is: {load.spread(load.interval(ratios))} times the tokens a second")
    return list(load.interval(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=2)
    repeat = parser.parse_args().repeat
    model = base.locate(Base(), Path("cohorts.toml"))
    with tempfile.TemporaryDirectory() as folder:
        files = adapters.several(model, Path(folder), 8)
        with servers.appliance(Path(folder) / "plain", model, [], cohorts=8, format="as_is", context=4096) as server:
            report: dict[str, object] = {"memory": memory(server, files)}
            report["cohorts"] = curve("cohorts", (1, 2, 4, 8), repeat, lambda n, s: point(server, 8, n, PROMPT, s))
            report["clients"] = curve(
                "clients", (1, 2, 4, 8, 16, 32), repeat, lambda n, s: point(server, n, 1, PROMPT, s)
            )
            report["prompt"] = curve(
                "prompt tokens", (64, 256, 1024, 2048), 1, lambda n, s: point(server, 4, 1, n, s, answer=8)
            )
            report["prepared"] = formats(Path(folder) / "prepared", model, files[0], server, repeat)
    print(json.dumps({"bench": "curves", **report}))


if __name__ == "__main__":
    main()
