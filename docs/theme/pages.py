"""What MkDocs calls while it builds the site: which files are pages, and the API reference.

The site's files lie as the repository's do. So a relative link leads to the same file on the site
as on GitHub, and no page is written twice.
"""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "onecycle"
FILES = """*.md docs/*.md docs/images/* docs/theme/*.css docs/theme/*.js docs/theme/*.svg
benchmarks/*.md benchmarks/images/**/*.png notebooks/**/*.ipynb examples/*.md tests/README.md
LICENSE CITATION.cff""".split()
"""Patterns of the repository's files on the site. A link to any other is an error of the build."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API reference into the navigation."""
    for entry in config.nav or []:
        if "API" in entry:
            entry["API"] = ["api/index.md", *({room: page(room)} for room in public_names())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The repository's own files in place of those of docs/, and the API reference."""
    for file in [each for each in files if each.src_dir == config.docs_dir]:
        files.remove(file)
    for path in sorted(path for pattern in FILES for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    rooms = public_names()
    files.append(File.generated(config, "api/index.md", content=overview(rooms)))
    for room, names in rooms.items():
        files.append(File.generated(config, page(room), content=reference(room, names)))
    return files


def public_names() -> dict[str, dict[str, str]]:
    """By room: the public names with the paths that they are documented under.

    Read from the imports of `onecycle/__init__.py`, as the reference is from the docstrings:
    nothing of the package is imported.
    """
    rooms: dict[str, dict[str, str]] = {}
    for node in ast.walk(parsed(PACKAGE / "__init__.py")):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("onecycle"):
            for alias in node.names:
                path = f"{node.module}.{alias.name}"
                room = path.split(".")[1]
                if path != f"onecycle.{room}" and (ROOT / f"{path.replace('.', '/')}.py").exists():
                    path += f".{alias.name}"  # a function in a module of its own name
                rooms.setdefault(room, {})[alias.name] = path
    return dict(sorted(rooms.items()))


def page(room: str) -> str:
    """Where the reference of a room lies on the site."""
    return f"api/{room}.md"


def overview(rooms: dict[str, dict[str, str]]) -> str:
    """Markdown of the reference's first page: every public name, with a link."""
    rows = ["# API", "Import every name from `onecycle` itself: `from onecycle import train`.\n"]
    rows += ["| module | names |", "|---|---|"]
    for room, names in rooms.items():
        links = ", ".join(f"[`{name}`][{path}]" for name, path in names.items())
        rows.append(f"| [{room}]({room}.md) | {links} |")
    return "\n".join(rows)


def reference(room: str, names: dict[str, str]) -> str:
    """Markdown of a room's page: what the room is, and each name with its docstring."""
    folder = PACKAGE / room
    module = parsed(folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py"))
    introduction = (ast.get_docstring(module) or "").split("\n\n")[0]
    lines = [f"# {room}", "" if room in names else introduction]
    return "\n\n".join([*lines, *(f"::: {path}" for path in names.values())])


def parsed(file: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(file.read_text("utf-8"))
