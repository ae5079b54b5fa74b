"""The documents keep up with the code: what can be called, set, read or met has its line, and the line is right."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest
import typer
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from prometheus_client.registry import Collector
from pydantic import BaseModel

from appliance import config
from appliance.cli import client
from appliance.cli.main import cli
from appliance.errors import ApplianceError, SetupError
from appliance.http import (
    endpoints,
    examples_api,
    jobs_api,
    log_api,
    operator_api,
    probes,
    router_api,
    streams,
    watch_api,
)
from appliance.http.box import Box
from appliance.http.status import gauges
from appliance.store import migrations
from appliance.vitals import Vitals
from appliance.wire.base import Request
from appliance.wire.examples import ExamplesRequest, Turn
from appliance.wire.jobs import AttributeRequest, CurveRequest, EvaluateRequest, RebuildRequest, RetrainRequest
from appliance.wire.operator import (
    KeyRequest,
    PromoteRequest,
    RejectRequest,
    ReleaseAddRequest,
    RollbackRequest,
    RouteRequest,
)
from appliance.wire.requests import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    FeedbackRequest,
    JsonSchema,
    Message,
    ResponseFormat,
    Sampled,
    StreamOptions,
    TextPart,
)
from appliance.wire.router import BlameRequest, FitRequest, ReplayRequest, RouterEvalRequest, RouterSwitchRequest
from router.decision import REASONS

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SOURCES = {
    path: path.read_text(encoding="utf-8")
    for room in ("appliance", "router", "adapters", "tui")
    for path in (ROOT / room).rglob("*.py")
}

SECTIONS: dict[type[BaseModel], str] = {
    Sampled: "Of chat and completions",
    ChatRequest: "Chat",
    CompletionRequest: "Completions",
    Message: "Message",
    Turn: "Message",
    TextPart: "Text part",
    StreamOptions: "`stream_options`",
    ResponseFormat: "`response_format`",
    JsonSchema: "`json_schema`",
    EmbeddingRequest: "Embeddings",
    FeedbackRequest: "Feedback",
    RouteRequest: "`POST /admin/v1/route`",
    ReleaseAddRequest: "`POST /admin/v1/releases`",
    PromoteRequest: "`POST /admin/v1/promote`",
    RejectRequest: "`POST /admin/v1/reject`",
    RollbackRequest: "`POST /admin/v1/rollback`",
    ExamplesRequest: "`POST /admin/v1/examples`",
    BlameRequest: "`POST /admin/v1/router/blame`",
    KeyRequest: "`POST /admin/v1/keys`",
    RetrainRequest: "`POST /admin/v1/retrain`",
    EvaluateRequest: "`POST /admin/v1/evaluate`",
    AttributeRequest: "`POST /admin/v1/attribute`",
    CurveRequest: "`POST /admin/v1/curve`",
    RebuildRequest: "`POST /admin/v1/rebuild`",
    FitRequest: "`POST /admin/v1/router/fit`",
    RouterSwitchRequest: "`POST /admin/v1/router/switch`",
    RouterEvalRequest: "`POST /admin/v1/router/eval`",
    ReplayRequest: "`POST /admin/v1/router/replay`",
}


def section(document: str, title: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    text = (DOCS / document).read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found, f"docs/{document} has no heading {title}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(document: str, title: str) -> dict[str, list[str]]:
    """Every name in the first cells of the tables under a heading, with the cells that follow."""
    named: dict[str, list[str]] = {}
    for line in section(document, title).splitlines():
        if line.startswith("|"):
            first, *others = (cell.strip() for cell in line.strip("|").split(" | "))
            named |= dict.fromkeys(re.findall(r"`([^`]+)`", first), others)
    return named


def subclasses(kind: type[T]) -> list[type[T]]:
    children = kind.__subclasses__()
    return [*children, *(grandchild for child in children for grandchild in subclasses(child))]


def scope_of(route: APIRoute) -> str:
    """The scope that the route's dependencies demand."""
    for dependency in route.dependant.dependencies:
        if getattr(dependency.call, "__qualname__", "").startswith("authorised."):
            return str(cast(Any, dependency.call).__closure__[0].cell_contents)
    return "none"


ROUTES = [
    route
    for part in (endpoints, operator_api, log_api, examples_api, router_api, jobs_api, watch_api, probes)
    for route in part.router.routes
    if isinstance(route, APIRoute)
]


REQUESTS: list[type[BaseModel]] = [*subclasses(Request)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_endpoint_has_its_scope(route: APIRoute) -> None:
    documented = rows("api.md", "Endpoints and scopes")
    path = route.path.replace(":path}", "}")
    for method in route.methods or ():
        assert f"{method} {path}" in documented
        assert documented[f"{method} {path}"][0] == scope_of(route)


def test_no_endpoint_is_documented_that_is_not_there() -> None:
    pages = {f"GET {getattr(route, 'path', '')}" for route in FastAPIOffline(title="pages").routes}
    served = {f"{method} {route.path.replace(':path}', '}')}" for route in ROUTES for method in route.methods or ()}
    assert set(rows("api.md", "Endpoints and scopes")) == served | pages


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: model.__name__)
def test_request_fields(model: type[BaseModel]) -> None:
    assert model in SECTIONS, f"docs/api.md has no section for {model.__name__}: add it and name it in SECTIONS"
    inherited = Sampled.model_fields if Sampled in model.__mro__[1:] else {}
    wanted = {field.alias or name for name, field in model.model_fields.items() if name not in inherited}
    assert set(rows("api.md", SECTIONS[model])) == wanted


def test_queries_of_the_log() -> None:
    assert set(rows("api.md", "Reading")) == set(log_api.LogQuery.model_fields)


def test_reply_headers() -> None:
    given = {header for text in SOURCES.values() for header in re.findall(r'"([Xx]-[A-Za-z-]+)"(?::|\] =)', text)}
    documented = rows("api.md", "Replies")
    assert given == {name for name in documented if name.lower().startswith("x-")}
    assert set(REASONS) <= set(documented)


def test_error_classes() -> None:
    documented = rows("api.md", "Errors")
    kinds: list[type[ApplianceError]] = [ApplianceError, *subclasses(ApplianceError)]
    for kind in kinds:
        if kind is not client.Refused and not issubclass(kind, SetupError):
            assert documented[kind.default_code][:2] == [str(kind.status), f"`{kind.type}`"]
    assert streams.ClientGone.default_code in documented


def test_error_codes() -> None:
    """Those that a raise names itself, and those of the start."""
    given = {code for text in SOURCES.values() for code in re.findall(r'\bcode="([a-z_]+)"', text)}
    assert given <= set(rows("api.md", "Errors"))
    text = section("api.md", "Errors")
    kinds: list[type[SetupError]] = [SetupError, *subclasses(SetupError)]
    assert all(f"`{kind.default_code}`" in text for kind in kinds)


@pytest.mark.parametrize(
    ("model", "title"),
    [
        (config.Appliance, "`[appliance]`"),
        (config.Base, "`[base]`"),
        (config.Router, "`[router]`"),
        (config.Store, "`[store]`"),
        (config.CohortSection, "`[cohorts.NAME]`"),
        (config.Train, "`[cohorts.NAME.train]`"),
        (config.Gate, "`[cohorts.NAME.gate]`"),
    ],
)
def test_configuration_keys(model: type[BaseModel], title: str) -> None:
    documented = rows("configuration.md", title)
    assert set(documented) == set(model.model_fields)
    for name, field in model.model_fields.items():
        given = {} if isinstance(field.default, BaseModel) else field.default
        default = "required" if field.is_required() else json.dumps(given).replace("null", "none")
        assert documented[name][1] == f"`{default}`", name


def test_configuration_sections() -> None:
    for name in config.Config.model_fields:
        assert section("configuration.md", "`[cohorts.NAME]`" if name == "cohorts" else f"`[{name}]`")


def verbs(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - typer's own click
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from verbs(child, (*words, name))
    else:
        yield " ".join(words), command


@pytest.mark.parametrize(("verb", "command"), list(verbs(typer.main.get_command(cli), ("cohort",))))
def test_verb_and_its_options(verb: str, command: Any) -> None:  # noqa: ANN401
    usage = [usage for usage in rows("operations.md", "The command") if f"{usage} ".startswith(f"{verb} ")]
    assert len(usage) == 1, verb
    for parameter in command.params:
        spellings = [*parameter.opts, *parameter.secondary_opts]
        if parameter.param_type_name == "option":
            assert any(f"{spelling} " in usage[0].replace("]", " ") for spelling in spellings), parameter.name


def test_tables_and_columns(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "appliance.db", isolation_level=None)
    migrations.migrate(connection, tmp_path / "appliance.db")
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        if not table.startswith(("_", "sqlite_")):
            columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
            assert set(rows("store.md", f"`{table}`")) == columns, table
    connection.close()


def test_metrics() -> None:
    vitals = Vitals(["legal"])
    starting = cast(Box, SimpleNamespace(serving=None))
    vitals.watch(lambda: gauges(starting))
    documented = rows("operations.md", "Metrics")
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in cast(Collector, vitals.registry).collect()
    }
    assert set(documented) == names
    for metric in (vitals.requests, vitals.refused, vitals.decisions, vitals.ttft, vitals.feedback, vitals.live):
        name = metric._name if metric._type != "counter" else f"{metric._name}_total"
        assert documented[name][0] == ", ".join(metric._labelnames)


def test_every_module_is_in_the_tree() -> None:
    tree = section("architecture.md", "The tree")
    for path in SOURCES:
        if path.name != "__init__.py":
            assert re.search(rf"^ +{re.escape(path.name)} ", tree, re.MULTILINE), path


@pytest.mark.parametrize("document", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_files_named_exist_and_lines_are_short(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:appliance|adapters|router|docs|deploy|tests)/[\w./-]+\.\w+)`", text):
        assert (ROOT / name).exists(), name
    for number, line in enumerate(text.splitlines(), 1):
        assert len(line) <= 118 or line.startswith("| `cohort "), f"{document.name}:{number}"  # a table cannot wrap
