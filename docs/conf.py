"""Settings of the manual: Sphinx with MyST, in Chinese. `make docs` builds it, and a warning is an error."""

from __future__ import annotations

import logging

import jieba
from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

from shared import __version__

project = "税渡 taxferry"
author = "The taxferry maintainers"
project_copyright = "The taxferry maintainers"
version = release = __version__
language = "zh_CN"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Diagrams stay text: repositories draw them, and a printed page still shows what they say.
lexers["mermaid"] = TextLexer()

html_theme = "furo"
html_title = f"税渡 {release}"
html_show_sourcelink = False
html_copy_source = False
html_search_language = "zh"
jieba.setLogLevel(logging.WARNING)
