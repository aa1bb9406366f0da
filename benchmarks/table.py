"""docs/benchmarks.md, from what was measured. Its text is `benchmarks.md.jinja`."""

import re
from statistics import median

from benchmarks.default import fastest
from benchmarks.record import kept, report
from experiments.page import render
from experiments.run import ROOT

PAGE, TEMPLATE = ROOT / "docs/benchmarks.md", ROOT / "benchmarks/benchmarks.md.jinja"
MEASUREMENTS = (
    "keras_distiller",
    "default",
    "pipeline",
    "profile",
    "steps",
    "scale",
    "precision",
    "coverage",
    "timing",
    "taken_teacher",
    "photographs",
    "cluster",
)
ANOTHER = "precision_zen_4"  # a processor whose bfloat16 is faster than float32, measured before
FILTERS = {
    "whole": lambda value: f"{value:,.0f}",
    "epoch": lambda seconds: median(seconds[1:]),  # in the first there is something to compile
    "rate_of": fastest,
    "architecture": lambda key: key.split(".")[0],
}


def write_page() -> None:
    """Write docs/benchmarks.md."""
    PAGE.write_text(page(), encoding="utf-8")
    report(f"{PAGE.name}: written")


def page() -> str:
    """Return docs/benchmarks.md, with a section for each measurement that there is."""
    text = render(TEMPLATE, FILTERS, **{name: kept(name) for name in (*MEASUREMENTS, ANOTHER)})
    return re.sub(r"\n{3,}", "\n\n", text)  # of the parts of the template that say nothing
