"""The rules of the house: who may import whom, how long a file may be, what is said."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tl_pipeline

PACKAGE = Path(tl_pipeline.__file__).parent
ROOTS = {"tl_pipeline": PACKAGE, "flows": PACKAGE.parent / "flows"}
GROUND = (  # each may import those before it
    "errors",
    "progress",
    "digest",
    "arrays",
    "object_driver",
    "object_paths",
    "places",
    "files",
    "object_copies",
    "compilation",
    "allocation",
    "devices",
    "hdf5",
    "hdf5_texts",
    "preprocess",
    "spec",
    "examples",
    "tasks",
    "section",
    "heads_config",
    "finetune_config",
    "config",
)
PARTS = (
    "data",
    "augmentation",
    "backbones",
    "weights",
    "store",
    "heads",
    "finetuning",
    "evaluation",
    "runs",
    "reporting",
)
HEIGHT = (
    dict.fromkeys(GROUND, 0)
    | dict.fromkeys(PARTS, 1)
    | {"stages": 2, "flows": 3, "cli": 4}
)
NO_JAX = (*GROUND, "store", "runs", "data", "reporting")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "misc"}

FILES = sorted(path for root in ROOTS.values() for path in root.rglob("*.py"))


def room(path: Path) -> str:
    """Returns the room a file stands in: a ground module, a part, `flows`, ..."""
    if path.is_relative_to(ROOTS["flows"]):
        return "flows"
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_modules(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Yields every module that a file imports, deferred imports too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield module, node
            yield from ((f"{module}.{alias.name}", node) for alias in node.names)


def imported_rooms(path: Path) -> set[str]:
    """Returns the rooms of this project that a file imports from."""
    rooms = set()
    for module, _ in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "flows":
            rooms.add("flows")
        elif parts[0] == "tl_pipeline" and len(parts) > 1 and parts[1] in HEIGHT:
            rooms.add(parts[1])
    return rooms


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down_and_no_part_imports_another(path: Path):
    here = room(path)
    if here in ("__init__", "__main__"):  # the front door: opens lazily onto all
        return
    assert here in HEIGHT, f"{name_of(path)} stands in no room of the house"
    for other in imported_rooms(path) - {here}:
        if HEIGHT[here] == HEIGHT[other] == 0:
            assert GROUND.index(other) < GROUND.index(here)
        else:
            assert HEIGHT[other] < HEIGHT[here], f"{here} may not import {other}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_prefect_is_imported_in_flows_only_and_flows_inside_commands(path: Path):
    for module, node in imported_modules(path):
        root = module.split(".")[0]
        if root in ("prefect", "prefect_dask", "dask", "distributed"):
            assert room(path) == "flows"
        if root == "flows" and room(path) == "cli":
            assert node.col_offset > 0, "flows is imported inside the command that runs"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_one_noun_of_at_most_400_lines(path: Path):
    assert len(path.read_text().splitlines()) <= 400
    assert path.stem not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_public_name_has_a_docstring(path: Path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module says what it is for"
    public = ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef
    for node in tree.body:
        if isinstance(node, public) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_command_line_prints(path: Path):
    if room(path) == "cli":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"


def test_imports_make_no_circle():
    graph = {
        path: {
            target
            for module, node in imported_modules(path)
            if node.col_offset == 0 and (target := file_of(module))
        }
        for path in FILES
    }
    done: set[Path] = set()

    def visit(path: Path, trail: tuple[Path, ...]) -> None:
        assert path not in trail, " -> ".join(name_of(p) for p in (*trail, path))
        if path not in done:
            for target in graph[path] - {path}:
                visit(target, (*trail, path))
            done.add(path)

    for path in FILES:
        visit(path, ())


def file_of(module: str) -> Path | None:
    """Returns the file of a module of ours; packages count as their members do."""
    first, *rest = module.split(".")
    if first not in ROOTS:
        return None
    path = ROOTS[first].joinpath(*rest).with_suffix(".py") if rest else None
    return path if path and path.exists() else None


@pytest.mark.parametrize("name", NO_JAX)
def test_light_rooms_load_without_jax(name: str):
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in FILES
        if room(path) == name
    ]
    loads = "; ".join(f"import {module}" for module in modules)
    check_not_loaded(loads, ("jax", "flax", "prefect"))


def test_the_package_itself_and_its_help_load_nothing_heavy():
    check_not_loaded("import tl_pipeline", ("jax", "h5py", "prefect", "sklearn"))
    help_page = (
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    try: __import__('tl_pipeline.cli').cli.main(['--help'])\n"
        "    except SystemExit: pass\n"
    )
    check_not_loaded(help_page, ("jax", "prefect", "sklearn"))


def check_not_loaded(program: str, heavy: tuple[str, ...]) -> None:
    report = f"import sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_every_exported_name_exists():
    assert sorted(tl_pipeline._HOMES) == tl_pipeline.__all__
    for name in tl_pipeline.__all__:
        assert getattr(tl_pipeline, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tl_pipeline.no_such_name
