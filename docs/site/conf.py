"""Build the documents as a site: `make docs`.

The tree itself is the source, so that a link in a document leads to the same place on a forge and
in the site. The site needs no network: not to be built, not to be read, not to be searched.
"""

import re
from pathlib import Path
from typing import Final

from myst_parser.slugs import github_slugify
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT: Final = Path(__file__).resolve().parents[2]
HOME: Final = "docs/index"
NAVIGATION: Final = {
    "Begin": {"Why": HOME, "Quickstart": "docs/quickstart", "Your own script": "docs/your-script"},
    "Recipes": {
        "All recipes": "docs/recipes/index",
        "tf.data": "docs/recipes/tf-data",
        "A loop of your own": "docs/recipes/custom-loop",
        "Fine-tuning": "docs/recipes/fine-tuning",
        "Cross-validation": "docs/recipes/cross-validation",
        "A tuner": "docs/recipes/tuner",
        "tf_keras": "docs/recipes/tf-keras",
        "A shared host": "docs/recipes/shared-host",
    },
    "Guides": {
        "The checkpoint article": "docs/article",
        "Training loops": "docs/loops",
        "Is my job exact?": "docs/verify-resume",
        "Queue, GPUs, windows": "docs/queue",
        "The morning": "docs/report",
        "Where the time goes": "docs/ettr",
        "Compatibility": "docs/compatibility",
    },
    "Service": {
        "Operations": "docs/operations",
        "Configuration": "docs/configuration",
        "Security": "docs/security",
    },
    "Reference": {
        "Specs": "docs/spec",
        "Keys of a spec": "docs/reference/spec-keys",
        "Keys of rekindle.toml": "docs/reference/configuration-keys",
        "Verbs and options": "docs/reference/verbs",
        "JSON": "docs/json",
        "Exit codes": "docs/reference/exit-codes",
        "Environment variables": "docs/reference/environment",
        "Files on disk": "docs/reference/files",
        "Glossary": "docs/glossary",
    },
    "Trust": {
        "Reliability": "docs/reliability",
        "Failures": "docs/failures",
        "Performance": "docs/performance",
        "Architecture": "docs/architecture",
    },
    "Project": {
        "At a glance": "README",
        "Changelog": "CHANGELOG",
        "Contributing": "CONTRIBUTING",
        "Reporting a vulnerability": "SECURITY",
        "Releasing": "docs/releasing",
    },
}
"""Pages by title and group, in the order in which a newcomer needs them."""

project = "rekindle"
extensions = ["myst_parser", "sphinx_copybutton"]
include_patterns = ["*.md", "docs/**"]
exclude_patterns = ["docs/site/**"]
root_doc = HOME
nitpicky = True
smartquotes = False  # an option begins with two hyphens
myst_heading_anchors = 4
myst_heading_slug_func = "github"
copybutton_prompt_text = "$ "
html_theme = "furo"
html_title = "rekindle"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}

_FENCES: Final = {".py": "python", ".toml": "toml", ".sh": "sh"}
_SHOWN: Final = re.compile(
    r"(?<=\n\n)\[[^]\n]+\]\(([\w./-]+\.(?:py|toml|sh|md))(?:#([\w-]+))?\)(?=\n\n|\n?\Z)"
)
"""A link that is a paragraph of its own: the site shows what it leads to, a file or a section."""

_BY_FILE: Final = re.compile(r"\[(?:docs/)?[\w-]+\.md\]\((?=[\w./-]+\.md)")


def add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give the home the list of all pages; on a forge it would be noise."""
    if docname == HOME:
        for title, pages in NAVIGATION.items():
            entries = "\n".join(
                f"{name} <{'self' if page == HOME else f'/{page}'}>" for name, page in pages.items()
            )
            source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{entries}\n```\n"


def show_targets(app: Sphinx, docname: str, source: list[str]) -> None:
    """Show a file or a section where a link to it is a paragraph."""
    folder = (ROOT / docname).parent

    def show(match: re.Match[str]) -> str:
        file = folder / match[1]
        if match[2]:
            return _section(file, match[2])
        if file.suffix == ".md":
            return match[0]
        app.env.note_dependency(str(file), docname=docname)
        return f"{match[0]}\n\n```{_FENCES[file.suffix]}\n{file.read_text().rstrip()}\n```"

    source[0] = _SHOWN.sub(show, source[0])


def _section(file: Path, anchor: str) -> str:
    """Cut a section out of a page, one level lower."""
    for part in re.split(r"^(?=## )", file.read_text(), flags=re.MULTILINE):
        title = part.partition("\n")[0]
        if github_slugify(title.lstrip("# ")) == anchor:
            return f"#{part}"
    raise ExtensionError(f"{file.relative_to(ROOT)} has no section #{anchor}")


def name_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    """Name a page by its title, or its section, where a document names it by its file."""
    source[0] = _BY_FILE.sub("[](", source[0])


def add_entrance(app: Sphinx, exception: Exception | None) -> None:
    """Let the folder of the site be opened, too."""
    if exception is None:
        page = f'<!doctype html><meta http-equiv="refresh" content="0; url={HOME}.html">\n'
        (Path(app.outdir) / "index.html").write_text(page)


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("source-read", add_navigation)
    app.connect("source-read", show_targets)
    app.connect("source-read", name_pages)
    app.connect("build-finished", add_entrance)
