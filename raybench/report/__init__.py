"""Results as a terminal table, Markdown, LaTeX, CSV and JSON; the progress of a run on stderr."""

from raybench.report.formats import FORMATS, Format, render
from raybench.report.progress import Progress

__all__ = ["FORMATS", "Format", "Progress", "render"]
