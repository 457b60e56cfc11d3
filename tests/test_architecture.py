"""The house: who may import whom, what an import costs, and how long a file may be."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import raybench

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "raybench"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("ray", "torch", "vllm", "transformers", "datasets", "pyarrow", "scipy", "sklearn", "pandas", "fsspec")
LIMIT = 300
LONGER = {
    "driver/dispatch.py": "one state machine: its books are files of their own, but events and decisions are to be read in one place",
}
"""Files above the limit, with the reason."""
DOORS: dict[str, tuple[str, ...]] = {
    "click": ("cli/",),
    "ray": ("driver/ray_", "launch/"),
    "torch": ("engines/", "driver/doctor.py"),
    "transformers": ("engines/",),
    "vllm": ("engines/vllm_",),
    "gguf": ("engines/",),
    "peft": ("engines/adapter.py",),
    "datasets": ("tasks/source.py", "tasks/harness/data.py"),
    "lm_eval": ("tasks/harness/",),
    "pyarrow.parquet": ("store/", "tasks/source.py"),
    "yaml": ("core/config_file.py", "core/mistakes.py", "cli/"),
    "rich": ("report/", "cli/"),
    "jinja2": ("tasks/", "engines/prompting.py"),
    "huggingface_hub": ("driver/models.py", "engines/"),
    "fsspec": ("store/objects.py",),
}
"""Library to the places that may import it."""


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports_of(path: Path, *, module_level: bool = False) -> set[str]:
    """Dotted names of all modules that a file imports, at its top or anywhere, but not for type checking alone."""
    tree = ast.parse(path.read_text())
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for node in for_types for inner in ast.walk(node)}
    nodes = tree.body if module_level else [n for n in ast.walk(tree) if id(n) not in skipped]
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def loaded_after(code: str, *, cwd: Path = ROOT) -> set[str]:
    """Top-level names in sys.modules after `code` in a fresh interpreter."""
    tail = "\nimport sys, json; print('\\n' + json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, cwd=cwd, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_layers_import_downwards_only() -> None:
    done = subprocess.run([str(Path(sys.executable).with_name("lint-imports"))], capture_output=True, text=True, cwd=ROOT, timeout=120)

    assert done.returncode == 0, done.stdout
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout)


def test_no_module_is_part_of_a_cycle() -> None:
    names = {
        f"raybench.{name_of(p).removesuffix('.py').replace('/', '.').removesuffix('.__init__')}".removesuffix(".__init__"): p
        for p in MODULES
    }
    edges = {name: {other for other in imports_of(path) if other in names and other != name} for name, path in names.items()}
    order: list[str] = []
    open_path: list[str] = []

    def visit(name: str) -> None:
        assert name not in open_path, f"a cycle: {' > '.join([*open_path[open_path.index(name) :], name])}"
        if name not in order:
            open_path.append(name)
            for other in sorted(edges[name]):
                visit(other)
            open_path.pop()
            order.append(name)

    for name in sorted(names):
        visit(name)
    assert len(order) == len(names)
    assert sum(map(len, edges.values())) > 100  # it did find imports


def test_our_own_modules_are_imported_at_the_top_except_by_the_command_table() -> None:
    late = {
        name_of(path): ours
        for path in MODULES
        if (ours := {m for m in imports_of(path) - imports_of(path, module_level=True) if m.startswith("raybench")})
    }

    # raybench/__init__.py and cli/main.py load by name (importlib); a pool that nobody asked for must not need Ray
    assert set(late) <= {"driver/place.py"}
    assert late.get("driver/run.py", set()) <= {"raybench.driver.ray_pool", "raybench.driver.ray_pool.RayPool"}


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_its_doors_and_no_others(library: str) -> None:
    users = {name_of(p) for p in MODULES if any(m == library or m.startswith(f"{library}.") for m in imports_of(p))}

    assert users, f"nobody imports {library}: take it off the list"
    assert [u for u in sorted(users) if not u.startswith(DOORS[library])] == []


@pytest.mark.parametrize(
    "code",
    [
        "import raybench",
        "import raybench; dir(raybench); raybench.__version__",
        "import sys; sys.argv = ['raybench', '--help']\nfrom raybench.cli.main import main\ntry: main()\nexcept SystemExit: pass",
        "import sys; sys.argv = ['raybench', '--version']\nfrom raybench.cli.main import main\ntry: main()\nexcept SystemExit: pass",
    ],
    ids=["import", "names", "help", "version"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str) -> None:
    assert not loaded_after(code) & set(HEAVY)


def test_a_run_in_this_process_needs_neither_ray_nor_torch(tmp_path: Path) -> None:
    arguments = ["raybench", "run", "--model", "m", "--tasks", "quickstart/choice", "--engine", "fake", "--pool", "local", "--limit", "4"]
    code = (
        f"import sys; sys.argv = {arguments!r}\nfrom raybench.cli.main import main\ntry: main()\nexcept SystemExit as e: assert e.code == 0"
    )

    loaded = loaded_after(code, cwd=tmp_path)

    assert "pyarrow" in loaded
    assert not loaded & (set(HEAVY) - {"pyarrow", "pandas"})  # pyarrow looks for pandas on its own when it makes an array
    assert any((tmp_path / "runs").iterdir())


def test_public_names_are_sorted_complete_and_there() -> None:
    names = raybench.__all__

    assert names == sorted(names, key=lambda n: (n.startswith("_"), n)) or names == sorted(names)
    assert len(set(names)) == len(names)
    assert set(names) == {*raybench._WHERE, "__version__"}
    assert dir(raybench) == sorted(names)
    for name in names:
        assert getattr(raybench, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = raybench.nothing


def test_type_checkers_see_the_same_public_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If)]
    shown = {alias.asname or alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}

    assert shown == set(raybench._WHERE)


def test_every_module_can_be_imported_on_its_own() -> None:
    names = [m.name for m in pkgutil.walk_packages([str(PACKAGE)], "raybench.")]

    assert len(names) == len(MODULES) - 1
    for name in names:
        importlib.import_module(name)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_about(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))

    assert text
    assert text.splitlines()[0].endswith((".", ":"))


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "misc", "base", "manager", "constants"}

    assert [str(p) for p in (*MODULES, *(ROOT / "tests").rglob("*.py")) if p.stem in drawers] == []


def test_no_file_is_too_long_without_a_reason() -> None:
    lengths = {name_of(p): len(p.read_text().splitlines()) for p in MODULES}

    assert {name for name, length in lengths.items() if length > LIMIT} <= set(LONGER)
    assert sorted(lengths.values())[len(lengths) // 2] <= 150


def test_nothing_is_left_for_later() -> None:
    pattern = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    # an engine may catch what another library has not implemented
    found = [
        f"{name_of(p)}:{i}"
        for p in MODULES
        for i, line in enumerate(p.read_text().splitlines(), 1)
        if pattern.search(line) and "except" not in line
    ]

    assert found == []


def test_tests_mirror_the_package() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    kept = {"bench", "contracts", "golden", "parity"}
    names = {p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and p.name != "__pycache__"}

    assert names - kept <= folders
    assert [p.parent.name for p in (ROOT / "tests").rglob("__init__.py")] in ([], ["bench"])  # the bench is started by name
