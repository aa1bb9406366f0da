"""Tables that `dvc plots` draws: CSV files, the same bytes for the same numbers."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from distillery.data.errors import InputError
from distillery.data.files import written_whole


def write_table(path: str | Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a CSV file, floats with all their digits.

    Args:
        path: the file.
        header: the columns' names.
        rows: as many values a row as the header has names.
    """
    with written_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_records(path: str | Path, records: Sequence[dict]) -> None:
    """Write dictionaries that all have the same keys."""
    write_table(path, list(records[0]), ([*record.values()] for record in records))


def read_columns(path: str | Path) -> dict[str, list[float]]:
    """A table of numbers, by column.

    Raises:
        InputError: when it is missing or not such a table.
    """
    try:
        return {name: [float(value) for value in values] for name, values in read_text_columns(path).items()}
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as a table of numbers ({error}); run `dvc repro` first") from None


def read_text_columns(path: str | Path) -> dict[str, list[str]]:
    """A table of anything, by column.

    Raises:
        InputError: when it is missing, or has no rows.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: [row[name] for row in rows] for name in rows[0]}
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error}); run `dvc repro` first") from None
