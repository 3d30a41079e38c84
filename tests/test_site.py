"""The site of `make docs`: complete, whole links, and no request to anywhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from browsing import needs_browser, page_width, wait_until

import onecycle
from onecycle.config.declaring import settings

pytest.importorskip("mkdocs", reason="mkdocs is not installed; get it with: make docs")
pytestmark = pytest.mark.faults  # slow, and `make docs` itself checks the links

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = run("mkdocs", "build", "--strict", "--site-dir", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def broken_links(*arguments: str) -> str:
    """What the Makefile's own command says of broken links; empty if all are whole."""
    command = re.search(r"^LINKS := \$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert command
    done = run(*command[1].split(), *arguments)
    assert done.returncode in (0, 2), done.stderr
    return done.stdout if done.returncode else ""


def test_the_reference_has_every_public_name(site: Path) -> None:
    pages = "".join(page.read_text("utf-8") for page in site.glob("api/*.html"))
    overview = (site / "api" / "index.html").read_text("utf-8")
    for name in onecycle.__all__:
        link = re.search(rf'href="[a-z_]+\.html#([\w.]+)"[^>]*><code>{name}</code>', overview)
        assert link, name
        assert f'id="{link[1]}"' in pages


def test_a_setting_is_documented_by_its_declaration(site: Path) -> None:
    page = (site / "api" / "config.html").read_text("utf-8")
    _, _, below = page.partition('id="onecycle.config.Recipe.epochs"')
    below = below[: below.index("onecycle.config.Recipe.batch_size")]
    assert settings(onecycle.Recipe)["epochs"].help.split(";")[0] in below
    assert "setting(" not in page


def test_a_function_is_documented_and_not_the_module_of_its_name(site: Path) -> None:
    page = (site / "api" / "lr_finder.html").read_text("utf-8")
    assert 'id="onecycle.lr_finder.suggest.suggest"' in page
    assert 'id="onecycle.lr_finder.suggest"' not in page


def test_every_page_of_the_documentation_is_in_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f'href="docs/{page.stem}.html" class="md-nav__link"' in start


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("# A b\n[1](#a-b) [2](there.md#top-of-it) [3](pictures/x.png)\n", []),
        ("# A b\n[1](#a-c)\n", ["#a-c"]),
        ("# A b\n[2](there.md#bottom) [3](gone.md)\n", ["there.md#bottom", "gone.md"]),
        ("# A b\n![3](pictures/y.png) https://example.com/\n", ["pictures/y.png"]),
    ],
)
def test_broken_links_are_caught_in_markdown(tmp_path: Path, text: str, broken: list[str]) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "x.png").touch()
    (tmp_path / "there.md").write_text("# Top of it\n")
    (tmp_path / "here.md").write_text(text)
    said = broken_links(str(tmp_path / "here.md"))
    assert len(re.findall("ERROR", said)) == len(broken)
    assert all(link in said for link in broken)


def test_broken_links_are_caught_in_the_site(site: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(site, tmp_path / "site")
    arguments = "--root-dir", str(copy), f"{copy}/**/*.html"
    assert broken_links(*arguments) == ""
    page = copy / "docs" / "recipes.html"
    page.write_text(page.read_text("utf-8").replace("</article>", '<a href="speed.html#x">x</a>'))
    assert "speed.html#x" in broken_links(*arguments)


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_and_ask_for_nothing(site: Path, browser: Any, scheme: str, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    heard: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda r: r.url.startswith(("file:", "data:")) or heard.append(r.url))
    for name in ("index", "docs/data", "api/training"):
        page.goto((site / f"{name}.html").as_uri())
        assert page_width(page) == width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    context.close()
    assert heard == []


@needs_browser
def test_the_search_works_from_the_disk(site: Path, browser: Any) -> None:
    page = browser.new_page(offline=True)
    page.goto((site / "docs" / "recipes.html").as_uri())
    page.click(".md-search__input")
    page.keyboard.type("label smoothing")
    wait_until(page, "document.querySelectorAll('.md-search-result__link').length > 0")
    page.close()
