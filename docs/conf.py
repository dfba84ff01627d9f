"""How the API reference is built from the docstrings: ``make docs``."""

from __future__ import annotations

import importlib.metadata

project = "listen-embed"
release = importlib.metadata.version("listen-embed")
copyright = "listen-embed's authors"

extensions = ["sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]

html_theme = "alabaster"
html_theme_options = {"description": "Audio embeddings that run where the microphone is"}
html_show_sourcelink = False

# A word in single backticks is a name of ours or of Python's, linked where it has a page here.
default_role = "py:obj"
autodoc_typehints = "none"  # the docstrings state types with shapes and units
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
numpydoc_show_class_members = False  # autodoc lists them
