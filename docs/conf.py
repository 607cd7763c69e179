"""How Sphinx makes the site: `make docs`, every warning an error."""

import re
from typing import Any

import mmtk

project = "mmtk"
author = "the authors of mmtk"
project_copyright = "the authors of mmtk, Apache-2.0"
version = release = mmtk.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]  # types in signatures; pages refer by py:obj
default_role = "code"  # docstrings write `name`

# one page per public name, with all its members on it
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say them
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

# notebooks are kept as text without outputs, and run whenever the site is made
nb_execution_mode = "auto"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

html_theme = "pydata_sphinx_theme"
html_title = "mmtk"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {
    page: [] for page in ("index", "start", "own-data", "decathlon", "how-it-was-made", "format", "speed")
}
html_theme_options = {
    "logo": {"text": "mmtk"},
    "header_links_before_dropdown": 5,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "show_version_warning_banner": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def shorten(app: Any, what: str, name: str, thing: Any, options: Any, signature: str, returned: str) -> Any:
    """A signature without a dataclass's private fields."""
    return signature and re.sub(r",? ?\b_\w+(=(<\w+>|[^,()]+))?", "", signature), returned


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", shorten)
