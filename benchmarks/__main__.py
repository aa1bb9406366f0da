"""Measure what the pipeline costs, and write docs/benchmarks.md.

pip install -r requirements/benchmarks.txt -r requirements/cluster.txt
python -m benchmarks                       # all, on a machine that does nothing else
python -m benchmarks steps scale           # some
python -m benchmarks table                 # docs/benchmarks.md alone, from what was measured last
"""

import argparse
import importlib

from benchmarks.record import keep, report
from benchmarks.table import MEASUREMENTS, write_page


def main() -> None:
    """Run what the command line names, everything where it names nothing."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=plain)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(MEASUREMENTS)}, or table")
    names = parser.parse_args().names or [*MEASUREMENTS]
    if unknown := set(names) - {*MEASUREMENTS, "table"}:
        parser.error(f"found {', '.join(sorted(unknown))}; accepted: {', '.join(MEASUREMENTS)}, table")
    for name in names:
        if name != "table":
            report(f"== {name}")
            keep(name, importlib.import_module(f"benchmarks.{name}").main())
    write_page()


if __name__ == "__main__":
    main()
