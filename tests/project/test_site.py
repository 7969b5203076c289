"""The site of the documents is read and searched from a disk, on a desk and on a phone."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, chromium
from rig import ROOT

pytestmark = pytest.mark.slow(15)
LOADED = "document.readyState === 'complete'"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="the extra docs")
    folder = tmp_path_factory.mktemp("site")
    built = build(folder)
    assert built.returncode == 0, built.stderr
    return folder / "html"


def build(folder: Path, source: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Build as `make docs` does."""
    (line,) = re.findall(
        r"^docs:.*\n\t\$\(BIN\)/sphinx-build ((?:.*\\\n)*.*) \. site$",
        (ROOT / "Makefile").read_text(),
        re.MULTILINE,
    )
    options = line.replace("\\\n", " ").replace("build/doctrees", str(folder / "trees")).split()
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ".", folder / "html"],
        cwd=source,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as one:
        yield one


def test_the_folder_opens_at_the_reasons(site: Path, browser: Browser) -> None:
    [target] = re.findall('url=([^"]+)', (site / "index.html").read_text())
    browser.open(site / target, ready="!!document.querySelector('h1')")
    assert browser.value("document.querySelector('h1').innerText").startswith("Why rekindle")
    assert [] == outside(browser)


def test_a_page_is_found_by_a_word_in_it(site: Path, browser: Browser) -> None:
    """Without a server: browsers forbid pages of a disk to read other files."""
    found = "!!document.querySelector('.search a[href*=\"glossary.html\"]')"
    browser.open(site / "search.html", query="?q=quarantine", ready=found)
    assert [] == outside(browser)


@pytest.mark.parametrize("width", [1300, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_no_page_is_wider_than_the_screen(
    site: Path, browser: Browser, width: int, dark: bool
) -> None:
    """Each has a title of its own, and the colours that the browser asks for."""
    titles = set()
    pages = sorted(page for page in site.rglob("*.html") if page != site / "index.html")
    assert len(pages) > 15
    for page in pages:
        browser.open(page, width=width, dark=dark, ready=LOADED)
        titles.add(browser.value("document.title"))
        assert browser.value("document.documentElement.scrollWidth") <= width, page
        light = browser.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        assert (int(light) < 100) == dark, page
    assert len(pages) == len(titles), sorted(titles)


def test_no_table_is_left_as_text(site: Path) -> None:
    """A line within a table that is no row ends it, here and on a forge."""
    pages = list(site.rglob("*.html"))
    assert [] == [page.name for page in pages if re.search(r"<(p|li|td)>\s*\|", page.read_text())]


def test_a_block_of_code_has_a_button_that_copies_it(site: Path, browser: Browser) -> None:
    browser.open(site / "docs" / "spec.html", ready="!!document.querySelector('.copybtn')")
    count = "document.querySelectorAll('{}').length"
    assert browser.value(count.format(".highlight")) == browser.value(count.format(".copybtn"))


def outside(browser: Browser) -> list[str]:
    """List what a page has loaded from a network."""
    browser.value("0")
    urls = [one.get("params", {}).get("request", {}).get("url", "") for one in browser.events]
    return [url for url in urls if url and not url.startswith(("file:", "data:"))]


def test_a_dead_link_is_an_error(tmp_path: Path) -> None:
    """The site is that of the documents, with four links more."""
    pytest.importorskip("sphinx", reason="the extra docs")
    source = tmp_path / "source"
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, source / name)
    for file in ROOT.glob("*.md"):
        shutil.copy(file, source)
    dead = ["nowhere.md", "spec.md#nowhere", "../nowhere.py", "no.png"]
    links = "".join(f"{'!' * link.endswith('png')}[x]({link})\n" for link in dead)
    with (source / "docs" / "queue.md").open("a") as page:
        page.write(f"\n{links}[good](spec.md#keys)\n")
    built = build(tmp_path, source)
    assert built.returncode != 0
    assert built.stderr.count("WARNING: ") == len(dead), built.stderr
    assert [] == [link for link in dead if link.rpartition("#")[2] not in built.stderr]
