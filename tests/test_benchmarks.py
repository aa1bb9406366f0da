"""The tables of README.md are those of the numbers that were measured."""

from benchmarks.record import NUMBERS
from benchmarks.table import BEGIN, END, README, tables


def test_the_readme_has_the_tables_of_what_was_measured():
    assert list(NUMBERS.glob("*.json"))
    text = README.read_text(encoding="utf-8")
    assert text.split(BEGIN)[1].split(END)[0] == tables()
