"""The documents: commands that are shown exist, links lead somewhere, and help says what the tables say."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from raybench.cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = {".venv", ".venv-vllm", ".git", "runs", "build", "node_modules", ".pytest_cache"}
DOCUMENTS = sorted(p for p in ROOT.rglob("*.md") if not set(p.relative_to(ROOT).parts) & SKIPPED)
README = ROOT / "README.md"


def command_of(name: str) -> click.Command:
    found = importlib.import_module(f"raybench.cli.{name}_command").command
    assert isinstance(found, click.Command)
    return found


def test_a_module_of_the_command_line_is_in_the_table_and_the_other_way_round() -> None:
    files = {p.name.removesuffix("_command.py") for p in (ROOT / "raybench/cli").glob("*_command.py")}

    assert files == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_the_first_line_of_a_command_s_help(name: str) -> None:
    text = (command_of(name).help or "").strip()

    assert text.partition("\n")[0].strip() == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_an_example_and_a_sentence_for_every_option(name: str) -> None:
    command = command_of(name)

    assert command.name == name
    examples = re.findall(rf"^\s*raybench {name}\b.*$", command.help or "", flags=re.MULTILINE)
    assert examples
    for example in examples:
        parse(example.strip())
    silent = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert silent == []


def parse(line: str) -> None:
    """Let click read a command line without running it."""
    words = shlex.split(line, comments=True)
    assert words[0] == "raybench"
    if words[1:] and words[1].startswith("-"):
        assert words[1] in ("--help", "-h", "--version")
        return
    context = click.Context(cli, info_name="raybench")
    name, command, arguments = cli.resolve_command(context, words[1:])
    assert command is not None
    command.make_context(name, arguments, parent=context, resilient_parsing=False)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    relative = [link for link in links if not re.match(r"[a-z]+:|#", link)]

    assert [link for link in relative if not (path.parent / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_inside_a_document_lead_to_its_headings(path: Path) -> None:
    text = path.read_text()
    headings = re.findall(r"^#+ +(.+?) *#*$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}

    assert [a for a in re.findall(r"\]\(#([^)]+)\)", text) if a not in anchors] == []


def shown_lines(path: Path) -> list[str]:
    """Command lines in the shell blocks of a document, continued lines joined."""
    blocks = re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_that_a_document_shows_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for line in shown_lines(path):
        for part in re.split(r"&&|\||;", line):
            words = part.strip().removeprefix(".venv/bin/").split()
            if words[:1] == ["raybench"]:
                parse(part.strip().removeprefix(".venv/bin/"))
            elif words[:1] == ["make"]:
                wanted = [w for w in shlex.split(part, comments=True)[1:] if not w.startswith("-") and "=" not in w]
                assert set(wanted) <= targets, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_a_shown_command_reads_are_there(path: Path) -> None:
    named = [w for line in shown_lines(path) for w in line.split() if re.fullmatch(r"(configs|cluster|docker|raybench|tests)/[\w./*-]+", w)]

    assert [w for w in named if not list(ROOT.glob(w))] == []


def test_the_readme_names_every_command() -> None:
    text = README.read_text()

    assert [name for name in COMMANDS if not re.search(rf"raybench {name}\b", text)] == []


def test_the_readme_begins_with_the_two_commands_that_set_everything_up() -> None:
    text = README.read_text()

    assert 0 <= text.find("make quickstart") < len(text)
    assert "make test" in text


def test_plans_that_the_readme_shows_can_be_made_with_the_fake_engine(tmp_path: Path) -> None:
    lines = [line for line in shown_lines(README) if re.match(r"raybench (run|plan) configs/", line)]
    assert lines
    configs = {word for line in lines for word in shlex.split(line, comments=True) if re.fullmatch(r"configs/[\w/.-]+\.yaml", word)}
    for name in sorted(configs):
        fake = ["--set", "engine={kind: fake}", "--set", "models=[m]", "--set", "tasks=[quickstart/choice]"]
        done = subprocess.run(
            [sys.executable, "-c", "from raybench.cli.main import main; main()", "plan", str(ROOT / name), *fake],
            capture_output=True, text=True, cwd=tmp_path, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_the_task_and_the_metric_of_one_s_own_that_the_readme_shows_run(tmp_path: Path) -> None:
    (shown,) = [
        block for block in re.findall(r"^```python\n(.*?)^```", README.read_text(), flags=re.DOTALL | re.MULTILINE) if "TASK =" in block
    ]
    (tmp_path / "capitals.py").write_text(shown)
    (tmp_path / "capitals.jsonl").write_text('{"country": "France", "capital": "Paris"}\n{"country": "Italy", "capital": "Rome"}\n')
    asked = ["run", "--model", "m", "--tasks", "capitals:TASK", "--engine", "fake", "--json"]

    done = subprocess.run(
        [sys.executable, "-c", "from raybench.cli.main import main; main()", *asked],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    found = {r["metric"]: r["value"] for r in json.loads(done.stdout)["results"]}
    assert found == {"exact_match": 0.0, "capitals:BRIEF": 1.0}  # the fake engine's texts have eight characters


def test_options_that_a_document_names_exist() -> None:
    known = {o for name in COMMANDS for p in command_of(name).params for o in (*p.opts, *p.secondary_opts)} | {"--help", "--version", "-h"}
    pattern = re.compile(r"`(--[a-z][a-z-]+)`")
    unknown = [(str(p.relative_to(ROOT)), o) for p in DOCUMENTS for o in pattern.findall(p.read_text()) if o not in known]

    assert unknown == []


def test_the_changelog_knows_the_version() -> None:
    from raybench.core.version import VERSION

    text = (ROOT / "CHANGELOG.md").read_text()
    assert VERSION in text or "Unreleased" in text
