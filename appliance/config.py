"""`cohorts.toml`, read strictly: an unknown key is an error that names the file, the key and the nearest name."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from appliance.errors import ConfigError, NotFound
from router.cohort import Cohort, MetadataRule

AUTO = "auto"
RESERVED = (AUTO, "base", "none", "general", "aggregate", "previous")
FEWEST, MOST = 3, 8
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


Module: TypeAlias = Literal["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]


def is_loopback(host: str) -> bool:
    """By its name or its address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Appliance(_Strict):
    """`[appliance]`: the edge and its limits."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    tls_certificate: str | None = None
    tls_key: str | None = None
    behind_proxy: bool = False
    allowed_hosts: list[str] = []
    allowed_origins: list[str] = []
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 28)] = 2 << 20
    default_max_tokens: Annotated[int, Field(ge=1)] = 1024
    max_waiting: Annotated[int, Field(ge=1, le=100_000)] = 64
    max_waiting_tokens: Annotated[int, Field(ge=1)] = 131_072
    max_per_key: Annotated[int, Field(ge=1)] = 32
    deadline_seconds: Annotated[float, Field(gt=0)] = 600.0
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    force_cohort_count: bool = False

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def private(self) -> bool:
        """Only this machine reaches the port."""
        return self.loopback and not self.behind_proxy

    @model_validator(mode="after")
    def _tls_whole(self) -> Appliance:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self


class Base(_Strict):
    """`[base]`: the model everything stands on."""

    path: str | None = None
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] | None = None
    format: Literal["auto", "as_is", "q8_0", "q4_0", "f16"] = "auto"
    context: Annotated[int, Field(ge=256, le=1 << 20)] | None = None
    sequences: Annotated[int, Field(ge=1, le=64)] = 16
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    gpu_layers: Annotated[int, Field(ge=-1)] = -1
    prefix_cache_mb: Annotated[int, Field(ge=0, le=1 << 20)] = 256
    spare_lanes: Annotated[int, Field(ge=1, le=64)] = 4


class Router(_Strict):
    """`[router]`: metadata rules belong to their cohorts. `examples` is the folder of the shipped examples, beside
    this file."""

    examples: str = "examples"


class Store(_Strict):
    """`[store]`: the interaction log."""

    queue: Annotated[int, Field(ge=1, le=100_000)] = 1000


class Train(_Strict):
    """`[cohorts.NAME.train]`: the recipe of the cohort's adapter (`adapters.recipe`), and what training may take."""

    rank: Annotated[int, Field(ge=1, le=256)] = 8
    alpha: Annotated[float, Field(gt=0, le=1024)] = 16.0
    modules: Annotated[list[Module], Field(min_length=1)] | None = None
    rslora: bool = False
    use_dora: bool = False
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    epochs: Annotated[int, Field(ge=1, le=1000)] = 4
    batch: Annotated[int, Field(ge=1, le=1024)] = 8
    replay: Annotated[float, Field(ge=0, le=4)] = 0.25
    patience: Annotated[int, Field(ge=1, le=1000)] = 4
    planted: Annotated[int, Field(ge=0, le=64)] = 4
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 1
    longest: Annotated[int, Field(ge=16, le=1 << 20)] = 1024
    max_minutes: Annotated[float, Field(gt=0, le=10_000)] = 60.0

    @field_validator("use_dora")
    @classmethod
    def _no_dora(cls, wanted: bool) -> bool:
        if wanted:
            raise ValueError(
                "DoRA cannot be served: a GGUF adapter has no place for its magnitudes; use rslora or more rank"
            )
        return wanted


class Gate(_Strict):
    """`[cohorts.NAME.gate]`: what a candidate may lose, and what it has to show."""

    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.02
    guard_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.02
    json_valid: Annotated[float, Field(ge=0, le=1)] = 0.8
    rows: Annotated[int, Field(ge=1, le=100_000)] = 50
    memorised: Annotated[float, Field(ge=0, le=1)] = 0.02
    revalidate_days: Annotated[int, Field(ge=1, le=3650)] = 90
    judge: bool = False


class CohortSection(_Strict):
    """`[cohorts.NAME]`."""

    description: Annotated[str, Field(min_length=1)]
    owner: Annotated[str, Field(min_length=1)]
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    system_prompt: str | None = None
    metadata: list[dict[str, str]] = []
    train: Train = Train()
    gate: Gate = Gate()

    @field_validator("metadata")
    @classmethod
    def _rules(cls, rules: list[dict[str, str]]) -> list[dict[str, str]]:
        for rule in rules:
            if rule.get("rule", "prior") not in ("routes", "prior"):
                raise ValueError(f'rule is "routes" or "prior", not "{rule["rule"]}"')
            if not set(rule) - {"rule"}:
                raise ValueError('a rule names at least one field of the metadata, like {tenant = "acme"}')
        return rules

    def rules(self) -> tuple[MetadataRule, ...]:
        """Rules on the tenant are priors unless said otherwise: tenants also ask other things."""
        return tuple(
            MetadataRule(
                MappingProxyType({name.lower(): value for name, value in rule.items() if name != "rule"}),
                "prior" if rule.get("rule", _default_rule(rule)) == "prior" else "routes",
            )
            for rule in self.metadata
        )


def _default_rule(rule: dict[str, str]) -> str:
    return "prior" if "tenant" in map(str.lower, rule) else "routes"


class Config(_Strict):
    """The whole file."""

    appliance: Appliance = Appliance()
    base: Base = Base()
    router: Router = Router()
    store: Store = Store()
    cohorts: dict[str, CohortSection]

    @field_validator("cohorts")
    @classmethod
    def _names(cls, cohorts: dict[str, CohortSection]) -> dict[str, CohortSection]:
        for name in cohorts:
            if not _NAME.fullmatch(name):
                raise ValueError(f'"{name}" is not a cohort name: lower-case letters, digits, - and _ (at most 32)')
            if name in RESERVED:
                raise ValueError(f'"{name}" is reserved ({", ".join(RESERVED)})')
        return cohorts

    @model_validator(mode="after")
    def _count(self) -> Config:
        n = len(self.cohorts)
        if self.appliance.force_cohort_count or FEWEST <= n <= MOST:
            return self
        why = (
            "every cohort is one more data set, evaluation, gate and release to keep up, and that cost grows "
            "faster than the quality each further split brings: merge the nearest ones"
            if n > MOST
            else "with fewer there is nothing to route between: serve one fine-tune, or the base"
        )
        raise ValueError(
            f"{n} cohorts, and {FEWEST} to {MOST} are sensible: {why}. "
            "To insist, set force_cohort_count = true in [appliance]"
        )

    @model_validator(mode="after")
    def _base_name_free(self) -> Config:
        if self.base.name in (*self.cohorts, AUTO):
            raise ValueError(f'base.name "{self.base.name}" is the name of a cohort or of routing')
        return self

    def cohort(self, name: str) -> CohortSection:
        """Raises NotFound."""
        if name not in self.cohorts:
            raise NotFound(f'there is no cohort "{name}"; there are {", ".join(self.cohorts)}', param="cohort")
        return self.cohorts[name]

    def check_known(self, name: str | None) -> None:
        """For a listing in which nothing was found: None is all, and the base is no cohort. Raises NotFound."""
        if name not in (None, "base"):
            self.cohort(str(name))

    def routing(self) -> tuple[Cohort, ...]:
        return tuple(Cohort(name, section.rules()) for name, section in self.cohorts.items())


def home_path() -> Path:
    return _named("COHORT_HOME", "./var").resolve()


def config_path() -> Path:
    return _named("COHORT_CONFIG", "./cohorts.toml")


def _named(variable: str, otherwise: str) -> Path:
    return Path(os.path.expanduser(os.environ.get(variable) or otherwise))  # noqa: PTH111 - Path's raises


def load(path: Path) -> Config:
    """Read and check the file. Raises ConfigError with one line per fault."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows put a mark first
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; start in the folder that holds it or set COHORT_CONFIG") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start + 1}): save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {_twice(str(error))}") from error
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        faults = [_explain(fault["type"], fault["loc"], fault["msg"]) for fault in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(faults)) from error


def _twice(message: str) -> str:
    """tomllib says 'Cannot declare (...) twice': name the cohort."""
    found = re.search(r"Cannot declare \('cohorts', '([^']+)'\) twice(.*)", message)
    return f'the cohort "{found[1]}" is declared twice{found[2]}' if found else message


def _explain(kind: str, location: tuple[int | str, ...], message: str) -> str:
    where = ".".join(str(part) for part in location) or "the file"
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(known)}"
        return f"unknown key {where} ({hint})"
    if kind == "missing":
        return f"{where} is missing"
    return f"{where}: {message.removeprefix('Value error, ')}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    if location[:1] == ("cohorts",):
        location = location[2:]
        section: Any = CohortSection
    else:
        section = Config
    for part in location:
        section = section.model_fields[str(part)].annotation
    return list(section.model_fields)
