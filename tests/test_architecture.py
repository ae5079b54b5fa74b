"""The house as ARCHITECTURE.md draws it: what a module loads, what it may touch, and what no file may be."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("appliance", "router", "adapters", "tui")
SOURCES = tuple(sorted(p.relative_to(ROOT) for room in ROOMS for p in (ROOT / room).rglob("*.py")))

_CHILDREN = ("router/contrast.py", "router/export.py", "adapters/learner.py", "adapters/served_base.py")
CHILDREN = tuple(map(Path, (*_CHILDREN, "adapters/train.py")))

REPORT = """
import json, sys
before = set(sys.modules)
import {module}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded(program: str, *arguments: str) -> set[str]:
    """Run it in a fresh interpreter; its last line lists the modules it loaded."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("module", "never"),
    [
        (
            "appliance.wire",
            ["llama_cpp", "sqlite3", "fastapi", "starlette", "uvicorn", "jinja2", "numpy", "adapters"],
        ),
        ("appliance.errors", ["pydantic", "llama_cpp", "sqlite3", "fastapi", "numpy"]),
        ("appliance.config", ["llama_cpp", "sqlite3", "fastapi", "numpy", "adapters"]),
        ("appliance.releases.route_table", ["llama_cpp", "sqlite3", "fastapi", "pydantic", "numpy"]),
        ("appliance.chat", ["llama_cpp", "sqlite3", "fastapi", "numpy"]),
        ("appliance.cli.main", ["llama_cpp", "llguidance", "fastapi", "uvicorn", "torch", "numpy", "jinja2"]),
        (
            "tui.console",
            ["appliance.app", "llama_cpp", "fastapi", "numpy", "jinja2", "sqlite3", "adapters", "router"],
        ),
        ("appliance.base", ["llama_cpp", "sqlite3", "fastapi"]),
        ("appliance.store.database", ["llama_cpp", "fastapi", "pydantic", "adapters", "router"]),
        ("appliance.engine.engine", ["sqlite_utils", "fastapi", "starlette", "adapters", "router"]),
        ("appliance.app", ["torch", "peft", "transformers", "onnxruntime"]),
        ("router.decide", ["appliance", "adapters", "numpy", "pydantic"]),
        ("router.table", ["appliance", "adapters", "numpy", "pydantic"]),
        ("adapters.lifecycle", ["appliance", "router", "numpy", "pydantic"]),
        ("adapters.gguf_header", ["appliance", "numpy", "gguf", "llama_cpp"]),
        ("adapters.registry", ["appliance", "numpy", "sqlite3"]),
        ("adapters.inspect", ["appliance", "gguf", "llama_cpp", "torch"]),
        ("adapters.confine", ["appliance", "numpy", "threading", "ssl"]),
    ],
)
def test_what_an_import_loads(module: str, never: list[str]) -> None:
    found = loaded(REPORT.format(module=module))
    assert not {name for name in found for bad in never if name == bad or name.startswith(f"{bad}.")}


HELP = """
import json, sys
from appliance.cli.main import main
sys.argv = ["cohort", *sys.argv[1:], "--help"]
try:
    main()
except SystemExit as ended:
    assert not ended.code
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("verb", [[], ["serve"], ["doctor"], ["release", "add"], ["log", "export"]], ids=" ".join)
def test_help_is_quick(verb: list[str]) -> None:
    """The command on a laptop has no llama.cpp, and must not want one."""
    packages = {name.split(".")[0] for name in loaded(HELP, *verb)}
    assert not packages & {"llama_cpp", "llguidance", "fastapi", "uvicorn", "numpy"}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> set[str]:
    """The packages a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(
    ("package", "owner"),
    [
        ("llama_cpp", "appliance/engine/llama.py"),
        ("llguidance", "appliance/engine/"),
        ("sqlite3", "appliance/store/"),
        ("sqlite_utils", "appliance/store/"),
        ("jinja2", ("appliance/chat.py", "appliance/cli/report.py")),
        ("uvicorn", ("appliance/serve.py", "appliance/http/connection.py")),
        ("httpx", ("appliance/cli/client.py", "tui/client.py")),
        ("typer", "appliance/cli/"),
        ("rich", ("appliance/cli/show.py", "tui/")),
        ("textual", "tui/"),
        ("prometheus_client", "appliance/vitals.py"),
        ("onnxruntime", "router/"),
    ],
)
def test_a_package_has_one_owner(package: str, owner: str | tuple[str, ...]) -> None:
    owners = [str(path) for path in SOURCES if package in imports(path)]
    assert owners and all(path.startswith(owner) for path in owners), owners
    for one in [owner] if isinstance(owner, str) else owner:
        assert any(path.startswith(one) for path in owners), f"{one} does not use it any more"


def test_nothing_loads_code_from_data_or_runs_a_shell() -> None:
    banned_modules = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "torch"}
    banned_calls = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "pickle.load"}
    for path in SOURCES:
        allowed = {"torch"} if path in CHILDREN else set()  # which reads weights by safetensors only
        assert not imports(path) & (banned_modules - allowed), path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in banned_calls, f"{path}:{node.lineno}"
                shell = any(k.arg == "shell" for k in node.keywords)
                assert not shell, f"{path}:{node.lineno}"


def test_only_children_starts_processes() -> None:
    assert [str(p) for p in SOURCES if imports(p) & {"subprocess", "multiprocessing"}] == ["appliance/children.py"]


def test_no_room_is_a_drawer_for_the_rest() -> None:
    """In names of files and of classes."""
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
    for path in SOURCES:
        assert not set(path.with_suffix("").parts[-1].split("_")) & drawers, path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                assert not node.name.lower().endswith(("manager", "helper", "utils", "util")), f"{path}: {node.name}"


def test_no_assertion_guards_against_input() -> None:
    """`python -O` removes them: those that stay carry the reason why they cannot fail."""
    for path in SOURCES:
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Assert):
                assert "noqa: S101" in lines[node.lineno - 1], f"{path}:{node.lineno}"


def test_package_roots_are_empty() -> None:
    for path in SOURCES:
        if path.name == "__init__.py":
            assert not (ROOT / path).read_text(encoding="utf-8").strip(), path


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
