"""An appliance's answers as they were, for pictures of screens: busy, empty, or gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tui.client import ApplianceGone, Client

Json = dict[str, Any]
COHORTS = ("legal", "healthcare", "finance", "support", "coding")
URL = "http://127.0.0.1:8080"


def ago(**spent: float) -> str:
    return (datetime.now(UTC) - timedelta(**spent)).isoformat()


def percentiles(p50: float) -> Json:
    return {"p50": p50, "p95": 3 * p50, "p99": 5 * p50}


def nothing() -> Json:
    return {"p50": None, "p95": None, "p99": None}


SYSTEM: Json = {
    "versions": {"python": "3.11.9", "sqlite": "3.40.1", "cohort-appliance": "0.1.0", "llama-cpp-python": "0.3.36"},
    "base": {"id": "smollm2-135m-instruct", "digest": "ab" * 32, "format": "Q8_0"},
    "home": "/srv/cohort",
    "database_bytes": 312_000_000,
    "disk_free_bytes": 81_000_000_000,
    "memory_bytes": 1_420_000_000,
    "memory_free_bytes": 5_800_000_000,
    "lane_bytes": 188_000_000,
    "cache_bytes": 96_000_000,
    "config": {"appliance": {"port": 8080}, "cohorts": {"legal": {"owner": "legal@example.org"}}},
}


def score(cohort: str, base: float, mine: float) -> Json:
    return {
        "cohort": cohort,
        "metric": "label",
        "n": 42,
        "base": base,
        "previous": mine - 0.05,
        "candidate": mine,
        "low": mine - 0.1,
        "high": min(mine + 0.1, 1.0),
        "gain": {"mean": mine - base, "low": mine - base - 0.1, "high": mine - base + 0.1},
        "errors": 0,
        "beside": {},
    }


def manifest(cohort: str, days: int) -> Json:
    revalidate = datetime.fromisoformat("2031-05-01T00:00:00+00:00") if days > 0 else datetime(2026, 1, 2, tzinfo=UTC)
    return {
        "slice": "5e" * 32,
        "revalidate": revalidate.isoformat(),
        "reasons": [
            {"check": "enough_rows", "passed": True, "says": "84 eval rows of its own, 50 are needed"},
            {
                "check": "beats_base",
                "passed": True,
                "says": f"{cohort}: +79.8 points (+72.2 to +86.9) against the base",
            },
            {"check": "guard_loss", "passed": days > 0, "says": "general: -0.1 % (-0.8 % to +0.4 %)"},
        ],
        "scores": {"clause_type": score(cohort, 0.0, 0.76), "obligation": score(cohort, 0.02, 0.83)},
    }


def release(cohort: str, version: int, state: str, days: int = 30) -> Json:
    return {
        "cohort": cohort,
        "version": version,
        "digest": f"{version}{cohort}".encode().hex().ljust(64, "0"),
        "state": state,
        "parent": None,
        "created": ago(days=version, hours=3.5),
        "gated": True,
        "system_prompt": None,
        "warning": None,
        "manifest": manifest(cohort, days),
        "events": [],
    }


def interaction(number: int) -> Json:
    cohort = COHORTS[number % 5] if number % 4 else "base"
    failed = number % 17 == 5
    return {
        "seq": 10_000 - number,
        "id": f"req_{number:028x}",
        "created": f"2026-11-22T14:{59 - number // 60 % 60:02}:{59 - number % 60:02}.000000+00:00",
        "cohort": cohort,
        "layer": "fallback" if cohort == "base" else "classifier",
        "reason": "unclear" if cohort == "base" else "above_threshold",
        "release": "base" if cohort == "base" else f"{cohort}@2",
        "status": "failed" if failed else "ok",
        "confidence": 0.31 if cohort == "base" else 0.97,
        "scores": {"classifier": {"legal": 0.97, "finance": 0.02}},
        "origin": "live",
        "rating": {3: -1, 7: 1}.get(number),
        "use": {3: "against", 7: "for"}.get(number),
        "correction": None,
        "right_cohort": "finance" if number == 3 else None,
        "messages": [{"role": "user", "content": f"Question {number}: may the tenant sublet under clause 14.2?"}],
        "answer": "" if failed else "Only with the landlord's written consent.",
        "error": "engine_fault: the lane failed" if failed else None,
        "queue_ms": 2.0,
        "ttft_ms": 140.0,
        "total_ms": 900.0 + number,
        "prompt_tokens": 61,
        "completion_tokens": 12,
        "finish_reason": "stop",
        "key_id": "key_4711",
        "tenant": "hartwell-law",
        "metadata": {"tenant": "hartwell-law", "matter": "lease 7"},
        "session": "desk-3",
        "parent_id": None,
        "sampling": {"temperature": 0.2, "n": 2},
        "alternatives": [] if failed else ["Yes, with consent."],
    }


LOSSES = [
    {"step": n, "loss": 3.0 / (1 + n / 4), **({} if n % 10 else {"validation": 3.1 / (1 + n / 5)})} for n in range(31)
]


def job(identity: str, kind: str, state: str, **more: Any) -> Json:  # noqa: ANN401
    return {
        "id": identity,
        "kind": kind,
        "cohort": "legal",
        "state": state,
        "created": ago(minutes=7, seconds=30),
        "ended": None if state == "running" else ago(minutes=1, seconds=30),
        "key_id": "key_admin",
        "asked": {},
        "fraction": 0.42 if state == "running" else 1.0,
        "doing": "training: step 31 of 76, loss 0.412, 190 s left at 214 tokens/s" if state == "running" else state,
        "figures": {"loss": 0.412, "step": 31, "steps": 76, "seconds_left": 190.0} if state == "running" else {},
        "losses": LOSSES if state == "running" else [],
        "log": [{"at": "2026-11-22T14:03:11+00:00", "says": "freezing the slice"}] if kind == "retrain" else [],
        "result": None,
        "error": None,
        **more,
    }


JUDGED: Json = {
    "cohort": "legal",
    "release": None,
    "verdict": "fail",
    "reasons": manifest("legal", 0)["reasons"],
    "scores": {**manifest("legal", 0)["scores"], "general": score("general", 0.41, 0.39)},
}


def interval(mean: float) -> Json:
    return {"mean": mean, "low": mean - 0.08, "high": mean + 0.08}


def against(arm: str, theirs: float) -> Json:
    return {
        "arm": arm,
        "n": 84,
        "mine": 0.79,
        "theirs": theirs,
        "wins": interval(0.85),
        "gain": interval(0.79 - theirs),
        "better": theirs < 0.7,
        "replaceable": False,
        "needed": None,
    }


ATTRIBUTED: Json = {
    "cohorts": [
        {
            "cohort": "legal",
            "release": "legal@2",
            "verdict": "keep",
            "says": "keep legal's adapter: it beats all",
            "notes": [],
            "against": [against("base", 0.01), against("previous", 0.74), against("finance", 0.22)],
        }
    ]
}
CURVE: Json = {
    "levels": [
        {"rows": rows, "score": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}, "seeds": [mean]}
        for rows, mean in ((37, 0.41), (74, 0.66), (111, 0.75), (148, 0.79))
    ],
    "says": [
        "111 of 148 rows are within noise of the best (148 rows)",
        "296 rows would give about 86.0 (81.2 to 90.1)",
    ],
}


LOST = "coding lost 3.1 points of its rows (-4.0 to -2.2)"
ROUTER: Json = {
    "version": 3,
    "digest": "cd" * 32,
    "state": "live",
    "created": "2026-11-20T10:00:00+00:00",
    "rows": dict.fromkeys((*COHORTS, "base"), 290),
    "held_back": {},
    "refusals": [],
    "report": {"confusion": {name: {name: 118, "base": 9} for name in COHORTS} | {"base": {"base": 160, "legal": 4}}},
}


def all_jobs() -> dict[str, Json]:
    return {
        "job_1": job("job_1", "retrain", "running"),
        "job_2": job("job_2", "retrain", "done", result=JUDGED, losses=LOSSES),
        "job_3": job("job_3", "curve", "done", result=CURVE),
        "job_4": job("job_4", "attribute", "done", result=ATTRIBUTED),
        "job_5": job("job_5", "fit", "done", cohort="", result={**ROUTER, "state": "refused", "refusals": [LOST]}),
        "job_6": job("job_6", "evaluate", "failed", error="the engine has not moved for a minute"),
    }


def traffic(busy: bool) -> Json:
    n = 480 if busy else 0
    return {
        "since": ago(minutes=15),
        "seconds": 900.0,
        "requests": n,
        "per_second": n / 900,
        "tokens_per_second": 6.4 if busy else 0.0,
        "ttft_ms": percentiles(140.0) if busy else nothing(),
        "total_ms": percentiles(900.0) if busy else nothing(),
        "points": [
            {
                "per_second": (i % 7) / 7 if busy else 0.0,
                "failed": 0,
                "ttft_ms": 100.0 + i if busy and i % 9 > 2 else None,
                "total_ms": 600.0 + 10 * i if busy else None,
            }
            for i in range(60)
        ],
        "cohorts": [
            {
                "cohort": name,
                "requests": n // 6,
                "share": 1 / 6 if busy else 0.0,
                "by_base": 80 if busy and name == "coding" else 0,
                "failed": 3 if busy and name == "finance" else 0,
                "confidence": 0.93 if busy else None,
                "liked": 4 if busy else 0,
                "disliked": 1 if busy else 0,
                "ttft_ms": percentiles(140.0) if busy else nothing(),
            }
            for name in (*COHORTS, "base")
        ],
        "layers": {"classifier": 320, "metadata": 80, "fallback": 80} if busy else {},
        "confidence": [0, 1, 3, 5, 6, 5, 4, 3, 2, 2, 2, 3, 4, 5, 8, 13, 21, 40, 90, 180] if busy else [0] * 20,
    }


class Canned(Client):
    """`told` is what was posted."""

    def __init__(self, *, busy: bool = True, gone: bool = False) -> None:
        super().__init__(URL, "key")
        self.busy, self.gone = busy, gone
        self.told: list[tuple[str, Json]] = []

    async def get(self, path: str, /, **params: object) -> Any:  # noqa: ANN401
        if self.gone:
            raise ApplianceGone(f"{URL} does not answer (connection refused)")
        name, _, rest = path.partition("/")
        return getattr(self, f"_{name}")(rest, params)

    async def post(self, path: str, /, **body: object) -> Any:  # noqa: ANN401
        self.told.append((path, body))
        if path == "route":
            return {
                "cohort": "legal",
                "layer": "classifier",
                "reason": "above_threshold",
                "confidence": 0.97,
                "scores": {"semantic": {"legal": 0.61, "base": 0.2}, "classifier": {"legal": 0.97, "finance": 0.02}},
                "router": "3",
                "release": "legal@2",
            }
        if path in ("promote", "rollback", "reject"):
            return {"cohort": body["cohort"], "live": "legal@3", "previous": "legal@2"}
        return all_jobs()["job_1"]

    async def feedback(self, request_id: str, **said: object) -> None:
        self.told.append((request_id, said))

    def _status(self, _rest: str, _params: Json) -> Json:
        alarms = ["legal@2 is past its revalidation: cohort retrain legal"] if self.busy else []
        return {
            "phase": "ready",
            "doing": "serving",
            "base": SYSTEM["base"],
            "router": {"version": "router@3", "threshold": 0.62} if self.busy else None,
            "live": {name: f"{name}@2" if self.busy and name != "coding" else None for name in COHORTS},
            "lanes": [{"release": "base", "running": 2 if self.busy else 0, "waiting": 1 if self.busy else 0}],
            "waiting_requests": 1 if self.busy else 0,
            "waiting_tokens": 0,
            "open_without_keys": False,
            "alarms": alarms,
            "pending": ["legal@3 waits to be judged: cohort promote legal@3, or cohort reject legal@3"] * self.busy,
        }

    def _traffic(self, _rest: str, _params: Json) -> Json:
        return traffic(self.busy)

    def _system(self, _rest: str, _params: Json) -> Json:
        return SYSTEM

    def _cohorts(self, _rest: str, _params: Json) -> list[Json]:
        live = self._status("", {})["live"]
        return [
            {
                **self._standing(name, live[name]),
                "cohort": name,
                "description": f"What {name} asks for",
                "owner": f"{name}@example.org",
                "weight": 2.0 if name == "support" else 1.0,
                "live": live[name],
                "previous": f"{name}@1" if live[name] else None,
            }
            for name in COHORTS
        ]

    def _standing(self, cohort: str, live: str | None) -> Json:
        steps = {"legal": ("judge", "judge legal@3"), "coding": ("train", "train it")}
        steps |= {"finance": ("retrain", "retrain, due 2026-01-02")}
        step, says = steps.get(cohort, (None, "")) if self.busy else ("train", "train it")
        return {
            "score": {"candidate": 0.795, "base": 0.01, "previous": 0.745} if live else None,
            "due": manifest(cohort, cohort != "finance")["revalidate"] if live else None,
            "overdue": cohort == "finance" and live is not None,
            "next": {"step": step, "says": says, "command": None},
        }

    def _all_releases(self) -> list[Json]:
        if not self.busy:
            return []
        live = [release(name, 2, "live", 30 if name != "finance" else 0) for name in COHORTS if name != "coding"]
        return [release("legal", 3, "candidate"), *live, release("legal", 1, "retired")]

    def _releases(self, rest: str, params: Json) -> Any:  # noqa: ANN401
        found = self._all_releases()
        if rest.endswith("/lineage"):
            return {"parents": ["legal@1"], "rows": 148, "origins": {"imported": 131, "interaction": 17}}
        if rest:
            cohort, version = rest.split("/")
            return next(one for one in found if (one["cohort"], one["version"]) == (cohort, int(version)))
        return [one for one in found if params.get("cohort") in (None, one["cohort"])]

    def _interactions(self, rest: str, params: Json) -> Any:  # noqa: ANN401
        if rest:
            return interaction(int(rest.removeprefix("req_"), 16))
        if not self.busy:
            return []
        start = 10_000 - int(str(params.get("before", 10_001))) + 1
        found = [interaction(number) for number in range(start, start + 400)]
        wanted = [one for one in found if params.get("cohort") in (None, one["cohort"])]
        return wanted[: int(str(params.get("limit", 50)))]

    def _routers(self, _rest: str, _params: Json) -> list[Json]:
        return [ROUTER] if self.busy else []

    def _jobs(self, rest: str, params: Json) -> Any:  # noqa: ANN401
        if rest:
            return all_jobs()[rest]
        found = [
            {**one, "result": None}
            for one in all_jobs().values()
            if params.get("kind") in (None, one["kind"]) and params.get("cohort") in (None, one["cohort"])
        ]
        return found if self.busy else []

    def _audit(self, _rest: str, _params: Json) -> list[Json]:
        row = {
            "seq": 7,
            "created": "2026-11-22T14:03:11.000000+00:00",
            "key_id": "key_admin",
            "action": "release.promote",
            "object": "legal",
            "before": {"live": "legal@1"},
            "after": {"live": "legal@2"},
        }
        return [row] if self.busy else []
