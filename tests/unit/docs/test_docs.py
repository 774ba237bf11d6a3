"""What the docs say exists: commands, options, verbs, files, headings, tests, packages, dependencies.

Prose can still be wrong; a name in it cannot be.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import typer.main
from house_rules import ALLOWED_IMPORTS

from hanse.app.cli.root import app
from hanse.app.docs import pages
from hanse.manifest import load
from hanse.twin.scenarios import SCENARIOS

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    subprocess.run(["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, check=True)
    .stdout.decode()
    .rstrip("\0")
    .split("\0")
)
HANSE = typer.main.get_command(app)
OTHER_PROGRAMS = {"pip"}
SUBCOMMAND_WORD = re.compile(r"[a-z][a-z-]*")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its first line's number, its text."""

    language: str
    line: int
    text: str


def test_the_pages_that_a_newcomer_needs_are_there() -> None:
    wanted = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
    wanted |= {f"docs/{name}.md" for name in ("architecture", "glossary", "security")}
    assert wanted <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_blocks_exist(page: str) -> None:
    wrong = [
        f"{page}:{block.line}: {command}: {fault}"
        for block in _blocks(_read(page))
        if block.language in ("console", "sh")
        for command in _commands(block)
        if (fault := _fault_of(command))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_prose_exist(page: str) -> None:
    spans = re.findall(r"`((?:hanse|make) [^`\n]+)`", _prose(_read(page)))
    wrong = [f"{span}: {fault}" for span in spans if (fault := _fault_of(span))]
    assert not wrong, f"{page}: {wrong}"


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("hanse depoly x.yaml", "no command hanse depoly"),
        ("hanse node burn fra-1", "no command hanse node burn"),
        ("hanse deploy x.yaml --dryrun", "hanse deploy has no option --dryrun"),
        ("hanse up -z", "hanse up has no option -z"),
        ("hanse deploy examples/functions/nowhere", "examples/functions/nowhere does not exist"),
        ("make everything", "the Makefile has no verb everything"),
        ("python -m hanse.twin doomsday", "the twin has no scenario doomsday"),
        ("docker run hanse", "docker is not something the docs may ask for"),
    ],
)
def test_a_command_that_does_not_exist_is_caught(command: str, fault: str) -> None:
    assert _fault_of(command) == fault


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page: str) -> None:
    text = _prose(_read(page))
    wrong = [
        target
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if not re.match(r"[a-z]+:", target) and not _leads_somewhere(page, target)
    ]
    assert not wrong, f"{page}: {wrong}"


@pytest.mark.parametrize("page", PAGES)
def test_manifests_in_blocks_load(page: str) -> None:
    for block in _blocks(_read(page)):
        if block.language == "yaml" and "apiVersion: hanse.dev/v1" in block.text:
            load([(f"{page}:{block.line}", block.text)])


@pytest.mark.parametrize("page", PAGES)
def test_python_in_blocks_compiles(page: str) -> None:
    for block in _blocks(_read(page)):
        if block.language == "python":
            compile(block.text, f"{page}:{block.line}", "exec")


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_are_named_exist(page: str) -> None:
    """A claim that rests on a test falls with the test."""
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", _read(page)))
    if page == "docs/security.md":
        shown = [line.rpartition(" | ")[2] for line in _read(page).splitlines() if line.startswith("|")]
        named |= set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+){2,})`", "\n".join(shown)))
    missing = sorted(named - _test_names())
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    named = re.findall(r"`((?:src|tests|docs|crates|examples|scripts|benches|requirements)/[\w./-]+)`", _read(page))
    planned = {"tests/e2e/", "tests/parity/"}
    assert not [name for name in named if not (ROOT / name).exists() and name not in planned]


def test_ci_runs_what_the_readme_asks_for() -> None:
    first = next(block for block in _blocks(_read("README.md")) if block.language == "console")
    assert list(_commands(first)) == ["make demo", "make test"]
    steps = [line for line in _read(".ci/run").splitlines() if line.startswith("make ")]
    assert steps == ["make test", "make check"]


def test_the_reference_holds_every_generated_page_and_nothing_else() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").iterdir()}
    assert sorted(written) == sorted(pages())
    stale = [name for name, text in pages().items() if written[name] != text]
    assert not stale, "run `make docs`"


def test_the_architecture_names_every_package() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", _read("docs/architecture.md"), re.MULTILINE))
    assert {*ALLOWED_IMPORTS, "app"} <= rows


def test_decisions_are_numbered_without_gaps_and_have_every_section() -> None:
    files = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in files] == list(range(len(files)))
    sections = re.findall(r"^## .+$", files[0].read_text(encoding="utf-8"), re.MULTILINE)
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]}: ")
        assert re.findall(r"^## .+$", text, re.MULTILINE) == sections, path.name


def test_every_dependency_has_its_reason() -> None:
    page = _read("docs/decisions/0007-dependencies.md")
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    python = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in python}
    rust = tomllib.loads(_read("Cargo.toml"))["workspace"]["dependencies"]
    names |= {name for name, spec in rust.items() if not (isinstance(spec, Mapping) and "path" in spec)}
    assert not [name for name in sorted(names) if f"`{name}`" not in page]


def test_make_help_lists_every_verb_with_what_it_does() -> None:
    said = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for verb in sorted(_verbs() - {"help"}):
        assert re.search(rf"^ +make {verb} +[A-Z]\w+", said, re.MULTILINE), verb


def _read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def _blocks(text: str) -> Iterator[Block]:
    for match in re.finditer(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
        inner = "\n".join(line.removeprefix(match[1]) for line in match[3].splitlines())
        yield Block(language=match[2], line=text.count("\n", 0, match.start()) + 1, text=inner)


def _prose(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)


def _commands(block: Block) -> Iterator[str]:
    for line in block.text.splitlines():
        if block.language == "sh" and line.startswith("hanse "):
            yield line
        elif line.startswith("$ "):
            yield line[2:]


def _fault_of(command: str) -> str | None:
    words = shlex.split(command, comments=True)
    if words[-1] == "&":
        words.pop()
    if words[0] == "make":
        unknown = [word for word in words[1:] if SUBCOMMAND_WORD.fullmatch(word) and word not in _verbs()]
        return f"the Makefile has no verb {unknown[0]}" if unknown else None
    if words[0] == "hanse":
        return _fault_of_hanse(words)
    if words[:3] == ["python", "-m", "hanse.twin"]:
        return None if words[3] in SCENARIOS else f"the twin has no scenario {words[3]}"
    return None if words[0] in OTHER_PROGRAMS else f"{words[0]} is not something the docs may ask for"


def _fault_of_hanse(words: list[str]) -> str | None:
    command, path, rest = HANSE, "hanse", words[1:]
    while rest and isinstance(command, typer.core.TyperGroup) and not rest[0].startswith("-"):
        path = f"{path} {rest[0]}"
        if rest[0] not in command.commands:
            return f"no command {path}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {"--help", "-h", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))}
    for word in rest:
        if word.startswith("-") and len(word) > 1 and word.partition("=")[0] not in known:
            return f"{path} has no option {word.partition('=')[0]}"
        if word.startswith("examples/") and not (ROOT / word).exists():
            return f"{word} does not exist"
    return None


def _verbs() -> set[str]:
    declared = re.search(r"^\.PHONY: (.+)$", _read("Makefile"), re.MULTILINE)
    assert declared is not None
    return set(declared[1].split())


def _leads_somewhere(page: str, target: str) -> bool:
    file, _, heading = target.partition("#")
    path = (ROOT / page).parent / file if file else ROOT / page
    if not path.exists():
        return False
    if not heading:
        return True
    titles = re.findall(r"^#+ (.+)$", _prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return heading in {_anchor(title) for title in titles}


def _anchor(title: str) -> str:
    """The anchor that forges make of a heading: lower case, punctuation gone, spaces to dashes."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _test_names() -> set[str]:
    python = {n for p in (ROOT / "tests").rglob("*.py") for n in re.findall(r"def (test_\w+)\(", p.read_text())}
    rust = {n for p in (ROOT / "crates").rglob("*.rs") for n in re.findall(r"fn (\w+)\(", p.read_text())}
    return python | rust
