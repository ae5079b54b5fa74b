"""cohorts.toml is read strictly, and what is wrong is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.gates import Tolerances
from adapters.recipe import Recipe
from appliance import config
from appliance.config import Config, Gate, Train
from appliance.errors import ConfigError

COHORT = 'description = "d"\nowner = "o"\n'
THREE = "".join(f"[cohorts.{name}]\n{COHORT}" for name in ("legal", "finance", "support"))


def parse(text: str, folder: Path) -> Config:
    path = folder / "cohorts.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


def cohorts(*names: str) -> str:
    return "".join(f'[cohorts."{name}"]\n{COHORT}' for name in names)


def test_the_shipped_file_is_valid() -> None:
    shipped = config.load(Path(__file__).parent.parent / "cohorts.toml")
    assert list(shipped.cohorts) == ["legal", "healthcare", "finance", "support", "coding"]
    for name, section in shipped.cohorts.items():
        assert section.system_prompt
        assert [rule.rule for rule in section.rules()] == ["routes", "prior"]
        assert section.rules()[0].match == {"vertical": name}


def test_defaults(tmp_path: Path) -> None:
    read = parse(THREE, tmp_path)
    assert (read.appliance.host, read.appliance.port, read.appliance.loopback) == ("127.0.0.1", 8080, True)
    assert read.base.format == "auto" and read.base.path is None
    assert [cohort.name for cohort in read.routing()] == ["legal", "finance", "support"]
    assert {section.weight for section in read.cohorts.values()} == {1.0}


BAD: dict[str, tuple[str, str]] = {
    "not TOML": ("[cohorts", "is not valid TOML"),
    "empty": ("", "cohorts is missing"),
    "misspelt section": (THREE + "[applience]\n", r'unknown key applience \(did you mean "appliance"\?\)'),
    "misspelt key": ("[appliance]\nprot = 1\n" + THREE, r'unknown key appliance\.prot \(did you mean "port"\?\)'),
    "misspelt key of the base": ("[base]\ncontexts = 512\n" + THREE, r'base\.contexts \(did you mean "context"\?\)'),
    "misspelt key of a cohort": (
        THREE + 'systemprompt = "x"\n',
        r'cohorts\.support\.systemprompt \(did you mean "system_prompt"\?\)',
    ),
    "a key like no other": ("[store]\nzzzz = 1\n" + THREE, r"unknown key store\.zzzz \(known here: queue\)"),
    "a key where none are known": ("[router]\nthreshold = 1\n" + THREE, r"unknown key router\.threshold"),
    "two faults": ("[appliance]\nprot = 1\nport = 70000\n" + THREE, r"appliance\.port.*; .*|.*; .*appliance\.port"),
    "a cohort twice": (THREE + THREE, r'the cohort "legal" is declared twice \(at line'),
    "a key twice": (THREE + 'owner = "p"\n', "is not valid TOML: Cannot overwrite"),
    "no description": (THREE + '[cohorts.x]\nowner = "o"\n', r"cohorts\.x\.description is missing"),
    "no owner": (THREE + '[cohorts.x]\ndescription = "d"\n', r"cohorts\.x\.owner is missing"),
    "empty description": (THREE + '[cohorts.x]\ndescription = ""\nowner = "o"\n', r"cohorts\.x\.description: "),
    "port a string": ('[appliance]\nport = "8080"\n' + THREE, r"appliance\.port: "),
    "port too high": ("[appliance]\nport = 65536\n" + THREE, r"appliance\.port: .*65535"),
    "port true": ("[appliance]\nport = true\n" + THREE, r"appliance\.port: "),
    "half of TLS": ('[appliance]\ntls_key = "k"\n' + THREE, "appliance: tls_certificate and tls_key go together"),
    "unknown format": ('[base]\nformat = "q5"\n' + THREE, r"base\.format: "),
    "base name in capitals": ('[base]\nname = "Smol"\n' + THREE, r"base\.name: "),
    "base name with a colon": ('[base]\nname = "a:b"\n' + THREE, r"base\.name: "),
    "context too small": ("[base]\ncontext = 100\n" + THREE, r"base\.context: "),
    "no deadline": ("[appliance]\ndeadline_seconds = 0\n" + THREE, r"appliance\.deadline_seconds: "),
    "weight 0": (THREE + "weight = 0\n", r"cohorts\.support\.weight: "),
    "weight nan": (THREE + "weight = nan\n", r"cohorts\.support\.weight: "),
    "weight a string": (THREE + 'weight = "2"\n', r"cohorts\.support\.weight: "),
    "weight true": (THREE + "weight = true\n", r"cohorts\.support\.weight: "),
    "unknown rule": (THREE + 'metadata = [{tenant = "a", rule = "maybe"}]\n', '"routes" or "prior", not "maybe"'),
    "rule of nothing": (THREE + 'metadata = [{rule = "routes"}]\n', "names at least one field"),
    "empty rule": (THREE + "metadata = [{}]\n", "names at least one field"),
    "rule of a number": (THREE + "metadata = [{tenant = 3}]\n", r"cohorts\.support\.metadata\.0\.tenant: "),
    "a cohort that is no table": ("cohorts = {legal = 3}\n", r"cohorts\.legal: "),
    "cohorts that are no table": ("cohorts = 3\n", "cohorts: "),
    "name in capitals": (cohorts("a", "b", "Legal"), '"Legal" is not a cohort name'),
    "name with @": (cohorts("a", "b", "legal@3"), '"legal@3" is not a cohort name'),
    "name empty": (cohorts("a", "b", ""), '"" is not a cohort name'),
    "name too long": (cohorts("a", "b", "c" * 33), "is not a cohort name"),
    "name with a line break": (cohorts("a", "b") + f'[cohorts."c\\n"]\n{COHORT}', "is not a cohort name"),
    "name auto": (cohorts("a", "b", "auto"), '"auto" is reserved'),
    "name base": (
        cohorts("a", "b", "base"),
        r'"base" is reserved \(auto, base, none, general, aggregate, previous\)',
    ),
    "name none": (cohorts("a", "b", "none"), '"none" is reserved'),
    "name general": (cohorts("a", "b", "general"), '"general" is reserved'),
    "no cohorts": ("[cohorts]\n", "0 cohorts, and 3 to 8 are sensible: with fewer"),
    "two cohorts": (cohorts("a", "b"), "2 cohorts.*force_cohort_count = true"),
    "nine cohorts": (cohorts(*"abcdefghi"), "9 cohorts.*merge the nearest.*force_cohort_count = true"),
    "a base named as a cohort": ('[base]\nname = "legal"\n' + THREE, "legal"),
    "a base named auto": ('[base]\nname = "auto"\n' + THREE, "auto"),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD)
def test_a_fault_is_named(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse(text, tmp_path)
    assert caught.value.message.startswith(str(tmp_path / "cohorts.toml"))


@pytest.mark.parametrize("names", ["abc", "abcdefgh"])
def test_three_to_eight_cohorts_are_taken(names: str, tmp_path: Path) -> None:
    assert list(parse(cohorts(*names), tmp_path).cohorts) == list(names)


@pytest.mark.parametrize("names", ["a", "abcdefghi"])
def test_other_counts_are_taken_when_insisted_on(names: str, tmp_path: Path) -> None:
    read = parse("[appliance]\nforce_cohort_count = true\n" + cohorts(*names), tmp_path)
    assert len(read.cohorts) == len(names)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist; .* COHORT_CONFIG"):
        config.load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'x = "caf\xe9"')
    with pytest.raises(ConfigError, match=r"is not UTF-8 \(byte 9\): save it as UTF-8"):
        config.load(tmp_path / "latin.toml")


def test_a_file_may_begin_with_the_mark_of_an_editor(tmp_path: Path) -> None:
    (tmp_path / "marked.toml").write_text("\ufeff" + cohorts("a", "b", "c"), encoding="utf-8")
    assert list(config.load(tmp_path / "marked.toml").cohorts) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("rule", "match", "kind"),
    [
        ('{vertical = "x"}', {"vertical": "x"}, "routes"),
        ('{tenant = "acme"}', {"tenant": "acme"}, "prior"),
        ('{tenant = "acme", tier = "gold"}', {"tenant": "acme", "tier": "gold"}, "prior"),
        ('{tenant = "acme", rule = "routes"}', {"tenant": "acme"}, "routes"),
        ('{vertical = "x", rule = "prior"}', {"vertical": "x"}, "prior"),
        ('{Vertical = "X"}', {"vertical": "X"}, "routes"),
        ('{Tenant = "acme"}', {"tenant": "acme"}, "prior"),
    ],
)
def test_rules(rule: str, match: dict[str, str], kind: str, tmp_path: Path) -> None:
    read = parse(THREE + f"metadata = [{rule}]\n", tmp_path)
    (found,) = read.cohorts["support"].rules()
    assert (dict(found.match), found.rule) == (match, kind)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("::", False),
        ("192.168.1.4", False),
        ("box.example.org", False),
    ],
)
def test_what_is_loopback(host: str, loopback: bool, tmp_path: Path) -> None:
    assert parse(f'[appliance]\nhost = "{host}"\n' + THREE, tmp_path).appliance.loopback is loopback


def test_the_environment_names_home_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COHORT_HOME", str(tmp_path / "h"))
    monkeypatch.setenv("COHORT_CONFIG", str(tmp_path / "c.toml"))
    assert (config.home_path(), config.config_path()) == (tmp_path / "h", tmp_path / "c.toml")
    monkeypatch.delenv("COHORT_HOME")
    monkeypatch.delenv("COHORT_CONFIG")
    monkeypatch.chdir(tmp_path)
    assert (config.home_path(), config.config_path()) == (tmp_path / "var", Path("cohorts.toml"))


def test_defaults_of_training_and_gate_are_those_of_recipe_and_tolerances() -> None:
    """They stand in both, since the command reads the configuration without loading `adapters`."""
    train, gate, recipe, rules = Train(), Gate(), Recipe(), Tolerances()
    own = train.model_dump(exclude={"modules", "use_dora", "longest", "max_minutes"})
    assert own == {name: getattr(recipe, name) for name in own}
    assert (gate.tolerance, gate.guard_tolerance) == (rules.loss, rules.guard)
    assert (gate.json_valid, gate.rows, gate.memorised) == (rules.json_valid, rules.rows, rules.memorised)
