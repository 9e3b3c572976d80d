"""The documentation is held to the code: its examples run, and its tables list what there is, no more, no less."""

from __future__ import annotations

import ast
import csv
import doctest
import hashlib
import importlib
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import click
import numpy as np
import pytest
from builders import PROGRAMMES, a_programme, an_event, some_certificates

import domain.programmes
from domain.baselines import METHODS
from domain.certificates import CertificateSet, Resource, describe, issue_certificates
from domain.certification import EVIDENCE, FINDINGS, UNCERTIFIED, LoadBlock, certify
from domain.merkle import Leaf
from domain.plans import make_plan
from domain.programmes import Programme, parse_programme
from ingest.columns import Columns, layout_of
from ingest.rejects import FIELDS, Code
from negawatt.cli import main
from negawatt.settings import Settings, load_settings
from negawatt.workspace import Workspace, read_event, read_resources

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
HAND_CHECKED = "heat-2025-06-11"
"""The event whose file the example in certificates.md opens."""


@dataclass(frozen=True)
class Block:
    """A fenced block: the words after the fence, its text, and where it stands."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    kind, start, held = None, 0, list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if not line.startswith("```"):
            held.append(line)
        elif kind is None:
            kind, start, held = line[3:].strip(), number, []
        else:
            yield Block(page.name, start, kind, "\n".join(held) + "\n")
            kind = None
    assert kind is None, f"{page.name}:{start}: the fence is never closed"


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def of_kind(kind: str) -> list[Block]:
    found = [block for block in BLOCKS if block.kind == kind]
    assert found, f"no block is marked {kind!r}"
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def first_cells(page: str, header: str) -> list[str]:
    """The code words in the first column of every table of a page whose first column is called ``header``."""
    found, inside = list[str](), False
    for line in prose(DOCS / page).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0] == header:
            inside = True
        elif inside:
            found += re.findall(r"`([^`]+)`", cells[0])
    return found


# --- examples run ------------------------------------------------------------------------------------------


@pytest.fixture
def a_desk(tmp_path, monkeypatch):
    """A folder to run examples in, with the published file that one of them opens."""
    monkeypatch.chdir(tmp_path)
    certificates = mixed_certificates()
    (tmp_path / f"{HAND_CHECKED}.jsonl").write_bytes(certificates.published())
    before = dict(METHODS)
    yield certificates
    METHODS.clear()  # examples may have added to it
    METHODS.update(before)


def a_programme_of_small_change() -> Programme:
    """Max(4/5) at so little a kWh that payments are rarely whole minor units; half an event suffices."""
    data = tomllib.loads((PROGRAMMES / "kpx-max-4-of-5.toml").read_text())
    data["terms"][0]["min_event_completeness_pct"] = 50
    data["terms"][0]["payment"] |= {"rate_per_kwh": "0.37", "shortfall_penalty_per_kwh": "0.11"}
    return parse_programme(data)


def mixed_certificates() -> CertificateSet:
    """Homes that save, fall short, use more, miss an interval, miss most and have no history."""
    plan = make_plan(an_event(HAND_CHECKED, hours=2), a_programme_of_small_change(), 30)
    homes = [Resource(f"home-{n:02d}", 333 + 7 * n, f"0x{n + 1:040x}") for n in range(23)]
    wh = np.full((len(homes), *plan.slots.shape), 500, dtype=np.int32)
    wh[:, 0, : plan.event_intervals] = (17 + 37 * np.arange(len(homes)))[:, None]
    wh[2, 0, 1] = -1
    wh[3, 0, 1:] = -1
    wh[4, 1:] = -1
    block = LoadBlock(np.array([home.meter for home in homes], dtype=object), wh, None)
    return issue_certificates(plan, certify(plan, block), {home.meter: home for home in homes}, b"salt")


def test_python_examples_run_in_the_order_of_their_page(a_desk, capsys):
    for page in PAGES:
        for block in (b for b in of_kind("python run") if b.page == page.name):
            names = {"__name__": "example"}
            source = "\n" * block.line + block.text  # so that a failure names the page's line
            exec(compile(source, str(DOCS / block.page), "exec"), names)
            check_doctests(names, block)
    said = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    header = json.loads(a_desk.header)
    assert said["root"] == "0x" + a_desk.tree.root.hex()
    assert said["publishedHash"] == "0x" + hashlib.sha256(a_desk.published()).hexdigest()
    programme = a_programme_of_small_change()
    assert said["programmeHash"] == "0x" + programme.digest(programme.terms[0]).hex()
    assert said["count"] == f"{len(a_desk.lines)} reduction {a_desk.total_reduction_wh} Wh"
    assert said["payment"] == f"{header['totals']['payment']} minor units"


def check_doctests(names: dict, block: Block) -> None:
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for name, value in list(names.items()):
        if inspect.isfunction(value) and value.__module__ == "example":
            for example in finder.find(value, name, module=False, globs=names):
                runner.run(example)
    assert runner.failures == 0, f"{block}: a docstring's example fails"


def test_no_python_block_is_left_unrun():
    assert {block.kind for block in BLOCKS if block.kind.startswith("python")} == {"python run"}


@pytest.mark.parametrize("lie", ["reduction", "payment"])
def test_the_check_by_hand_notices_a_lie(a_desk, lie):
    path = Path(f"{HAND_CHECKED}.jsonl")
    header, line, *rest = path.read_bytes().split(b"\n")
    home = json.loads(line)
    name = {"reduction": "total_reduction_wh", "payment": "payment"}[lie]
    home[name] += 1
    path.write_bytes(b"\n".join([header, json.dumps(home, sort_keys=True, separators=(",", ":")).encode(), *rest]))
    (block,) = (b for b in of_kind("python run") if b.page == "certificates.md")
    with pytest.raises(AssertionError):
        exec(block.text, {})


def test_the_check_by_hand_uses_nothing_of_negawatt():
    (block,) = (b for b in of_kind("python run") if b.page == "certificates.md")
    roots = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(ast.parse(block.text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert roots == {"hashlib", "json", "fractions", "eth_hash"}


@pytest.mark.parametrize("block", of_kind("toml programme"), ids=str)
def test_programme_examples_are_programmes(block):
    assert parse_programme(tomllib.loads(block.text)).terms


@pytest.mark.parametrize("block", of_kind("toml event"), ids=str)
def test_event_examples_are_events_of_a_programme_that_serves_their_day(block, tmp_path):
    (path := tmp_path / "event.toml").write_text(block.text)
    event = read_event(path)
    own = {p.id: p for p in (parse_programme(tomllib.loads(b.text)) for b in of_kind("toml programme"))}
    programme = own.get(event.programme) or Workspace(tmp_path).programme(event.programme)
    assert make_plan(event, programme, 30).days


@pytest.mark.parametrize("block", of_kind("toml columns"), ids=str)
def test_mapping_examples_are_mappings(block):
    Columns.from_mapping(tomllib.loads(block.text))


@pytest.mark.parametrize("block", of_kind("toml settings"), ids=str)
def test_settings_examples_are_settings(block, tmp_path):
    (path := tmp_path / "negawatt.toml").write_text(block.text)
    assert load_settings(path, {}) != Settings()


@pytest.mark.parametrize("block", of_kind("csv resources"), ids=str)
def test_resource_examples_are_resources(block, tmp_path):
    (path := tmp_path / "homes.csv").write_text(block.text)
    assert read_resources(path)


@pytest.mark.parametrize("block", of_kind("csv readings"), ids=str)
def test_reading_examples_have_a_known_layout(block, tmp_path):
    (path := tmp_path / "readings.csv").write_text(block.text)
    assert layout_of(path).quality == "quality"
    assert len(list(csv.DictReader(block.text.splitlines()))) == 3


@pytest.mark.parametrize("block", of_kind("json"), ids=str)
def test_the_certificate_shown_adds_up(block):
    home = json.loads(block.text)
    real = json.loads(some_certificates(1).lines[0])
    assert set(home) == set(real)
    differences = [base - used for base, used in zip(home["baseline_wh"], home["actual_wh"], strict=True)]
    assert differences == home["reduction_wh"]
    assert sum(differences) == home["total_reduction_wh"]
    assert home["payment"] == home["contracted_w"] * 2 * 120 // 100 * 130  # two hours, 120 %, 1300.00 a kWh


# --- command lines -----------------------------------------------------------------------------------------


def command_lines() -> list[tuple[str, str]]:
    """Every command line of negawatt on the pages: in console blocks whole, elsewhere as far as it is written."""
    found = []
    for block in of_kind("console"):
        joined = block.text.replace("\\\n", " ")
        lines = [line.removeprefix("$ ") for line in joined.splitlines()]
        found += [(str(block), line) for line in lines if line.startswith("negawatt ")]
    for page in PAGES:
        found += [(page.name, text) for text in re.findall(r"`(negawatt [^`]+)`", prose(page))]
    return found


def flags_of(command: click.Command) -> dict[str, click.Option]:
    options = [p for p in command.params if isinstance(p, click.Option)]
    return {flag: option for option in options for flag in (*option.opts, *option.secondary_opts)}


def take_options(command: click.Command, words: list[str], where: str, *, stop: bool = False) -> list[str]:
    """Take the options off ``words``, each checked to exist; returns the arguments."""
    known, arguments = flags_of(command) | {"--help": None}, []
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            arguments.append(word)
            if stop:
                return [*arguments, *words]
            continue
        flag, equals, _ = word.partition("=")
        assert flag in known, f"{where}: {command.name} has no {flag}"
        option = known[flag]
        if option is not None and not option.is_flag and not equals:
            assert words, f"{where}: {flag} needs a value"
            value = words.pop(0)
            if isinstance(option.type, click.Choice | type(click.INT) | type(click.FLOAT)):
                option.type.convert(value, option, None)
    return arguments


@pytest.mark.parametrize(("where", "line"), command_lines())
def test_command_lines_are_what_the_program_understands(where, line):
    command, words = main, shlex.split(line)[1:]
    while isinstance(command, click.Group):
        words = take_options(command, words, where, stop=True)
        if not words:
            return
        assert words[0] in command.commands, f"{where}: {command.name} has no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    given = take_options(command, words, where)
    wanted = [p for p in command.params if isinstance(p, click.Argument)]
    if where.endswith(".md") and not given:
        return  # in a sentence a command may stand by its name
    most = None if any(p.nargs < 0 for p in wanted) else len(wanted)
    assert len(given) >= sum(p.required for p in wanted), f"{where}: {line}: an argument is missing"
    assert most is None or len(given) <= most, f"{where}: {line}: too many arguments"


def commands_of(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    """Every command's words, those of groups' commands too."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_of(command, *above, name)
        else:
            yield (*above, name)


def test_every_command_is_in_the_index():
    named = [tuple(text.split()[1:]) for text in first_cells("README.md", "command")]
    commands = set(commands_of(main))
    unknown = [words for words in named if not any(words[:n] in commands for n in range(1, len(words) + 1))]
    unnamed = [command for command in commands if not any(words[: len(command)] == command for words in named)]
    assert (unknown, unnamed) == ([], [])


# --- tables against the code -------------------------------------------------------------------------------


def programme_keys() -> set[str]:
    """Keys that the parser asks for: first text argument of a reader's methods, second of `_one_of`."""
    tree = ast.parse(inspect.getsource(domain.programmes))
    readers = {"take", "text", "whole", "flag", "amount", "day", "table", "optional_table", "tables"}
    keys = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        at = {"_one_of": 1}.get(name, 0 if name in readers else None)
        if at is not None and len(call.args) > at and isinstance(call.args[at], ast.Constant):
            keys.add(call.args[at].value)
    return keys


def test_every_programme_key_is_explained_and_no_other():
    assert {"zone", "valid_from", "rate_per_kwh", "low_usage_shortage", "cap_pct"} <= programme_keys()
    assert set(first_cells("programmes.md", "key")) == programme_keys()


def test_every_built_in_programme_is_shown_with_its_numbers():
    page = prose(DOCS / "programmes.md")
    head = next(line for line in page.splitlines() if line.startswith("| rule |"))
    built_in = {path.stem for path in (ROOT / "negawatt" / "programmes").glob("*.toml")}
    columns = [cell.strip().strip("`") for cell in head.strip("|").split("|")][1:]
    assert set(columns) == built_in
    rows = {
        cells[0]: cells[1:]
        for line in page[page.index(head) :].split("\n\n", 1)[0].splitlines()
        if (cells := [cell.strip() for cell in line.strip("|").split("|")])
    }
    for at, name in enumerate(columns):
        programme = a_programme(name)
        terms = programme.terms[0]
        rule, pay = terms.baselines[0], terms.payment
        scale = 10**programme.currency.decimals
        assert rows["zone, holidays"][at] == f"{programme.zone}, {programme.holidays}"
        assert rows["valid from"][at] == terms.valid_from.isoformat()
        assert int(re.match(r"\d+", rows["days looked for"][at])[0]) == rule.days
        assert int(re.match(r"\d+", rows["fewest days"][at])[0]) == rule.min_days
        searched = [str(r.search_days) for r in terms.baselines]
        assert rows["searched, look-back [days]"][at] == f"{'; '.join(searched)}, {rule.look_back_days}"
        assert rows["low-usage day below"][at] == f"{rule.low_usage_pct} %"
        assert rows["low-usage days come back"][at] == ("yes" if rule.low_usage_shortage == "readmit" else "no")
        window = rule.adjustment
        assert rows["adjustment [min before]"][at] == f"{window.from_minutes_before} to {window.to_minutes_before}"
        assert rows["cap"][at] == ("none" if window.cap_pct is None else f"{window.cap_pct} %")
        assert float(rows["rate per kWh"][at]) == float(pay.rate_per_kwh / scale)
        assert rows["paid share"][at] == f"{pay.paid_share_max_pct} %"
        penalty = pay.shortfall_penalty_per_kwh / scale
        shown = f"{pay.shortfall_tolerance_pct} %, {penalty or 'none'}"
        assert rows["tolerance, penalty per kWh"][at] == shown
        assert rows["event completeness"][at] == f"{terms.min_event_completeness_pct} %"
        assert (rows["dispute window"][at] == "none") == (terms.dispute_window_minutes == 0)
        wait = terms.readings
        shown = f"{wait.complete_pct} %, {wait.deadline_hours}, {wait.at_deadline}"
        assert rows["readings, deadline [h], then"][at] == shown


def test_every_finding_is_explained_and_no_other():
    codes = first_cells("baselines.md", "code")
    assert codes == [code for code, _ in FINDINGS.values()]
    uncertified = {code for finding, (code, _) in FINDINGS.items() if finding & UNCERTIFIED}
    assert set(codes[:3]) == uncertified


def test_the_counts_of_each_finding_are_those_of_the_certificates():
    page = prose(DOCS / "baselines.md")
    for finding, (code, _) in FINDINGS.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{code}` |"))
        (spelt,) = describe(int(finding), [0] * len(EVIDENCE))
        assert re.findall(r"`([^`]+)`", row)[1:] == list(spelt["values"])


def test_every_reject_code_is_explained_and_no_other():
    assert first_cells("ingest.md", "code") == [code.value for code in Code]


def test_every_column_of_the_rejects_file_is_named():
    section = prose(DOCS / "ingest.md").split("## Reject codes")[1]
    assert all(f"`{field}`" in section for field in FIELDS)


def test_every_mapping_key_is_explained_with_its_flag_and_no_other():
    keys = [field.name for field in fields(Columns)]
    assert first_cells("ingest.md", "key") == keys
    flags = {option.name: flag for flag, option in flags_of(main.commands["ingest"]).items()}
    page = prose(DOCS / "ingest.md")
    for key in keys:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{key}` |"))
        flag = row.strip("|").split("|")[-1].strip().strip("`")
        assert flag == flags.get(key, "")


def test_every_setting_is_explained_with_its_default_and_no_other():
    assert first_cells("architecture.md", "setting") == [field.name for field in fields(Settings)]
    page = prose(DOCS / "architecture.md")
    for field in fields(Settings):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{field.name}` |"))
        assert row.strip("|").split("|")[1].strip().strip("`") == (str(field.default) or "none")


def test_every_field_of_the_published_file_is_explained_and_no_other():
    made = mixed_certificates()
    header, home = json.loads(made.header), json.loads(made.lines[0])
    nested = {f"{name}.{key}" for name in ("event", "totals") for key in header[name]}
    expected = nested | (set(header) - {"event", "totals"}) | set(home)
    assert set(first_cells("certificates.md", "field")) == expected


def test_the_words_of_a_leaf_stand_in_their_order():
    assert [field.name for field in fields(Leaf)] == [
        "event", "index", "resource", "wallet", "reduction_wh", "payment", "certificate_hash",
    ]  # fmt: skip
    page = prose(DOCS / "certificates.md")
    assert "event ‖ index ‖ payee ‖ detail" in page


def test_every_file_of_a_workspace_is_listed(tmp_path):
    page = (DOCS / "architecture.md").read_text("utf-8")
    place = Workspace(tmp_path)
    paths = [place.certificates("EVENT"), place.certificates("EVENT", provisional=True), place.settlement("EVENT")]
    paths += [place.transactions("EVENT"), place.recheck("EVENT")]
    paths += [place.report("EVENT"), place.rejects("NAME"), place.chain_state, place.address_book]
    paths += [place.settings_file, place.store, place.speed, place.spool, place.spark_log, place.outbox]
    for path in paths:
        assert path.relative_to(tmp_path).as_posix() in page


# --- the pages themselves ----------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made from their words."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links() -> list[tuple[str, str]]:
    return [(page.name, link) for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", prose(page))]


@pytest.mark.parametrize(("page", "link"), links())
def test_links_lead_somewhere(page, link):
    assert "://" not in link, "pages are to be read without a network"
    path, _, anchor = link.partition("#")
    target = (DOCS / path).resolve() if path else DOCS / page
    assert target.is_file(), f"{page}: no {link}"
    assert not anchor or anchor in anchors(target), f"{page}: no heading {link}"


def test_every_page_is_in_the_index():
    listed = {link.partition("#")[0] for page, link in links() if page == "README.md"}
    assert {page.name for page in PAGES} - {"README.md"} <= listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_project_that_a_page_names_exist(page):
    folders = "domain|ingest|batch|speed|serving|negawatt|contracts|tests|docs"
    named = re.findall(rf"`((?:{folders})/[\w./-]*)`", prose(page))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_the_code_that_a_page_uses_exist(page):
    named = re.findall(r"`((?:domain|ingest|batch|speed|serving|negawatt)\.[\w.]+)`", prose(page))
    assert [name for name in named if not _exists(name) and not name.endswith((".toml", ".duckdb"))] == []


def _exists(name: str) -> bool:
    module, rest = name, list[str]()
    while module:
        try:
            value = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
            continue
        for part in rest:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short_enough_to_read(page):
    assert [line for line in page.read_text("utf-8").splitlines() if len(line) > 118] == []
