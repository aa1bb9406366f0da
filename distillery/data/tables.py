"""Tables that `dvc plots` draws: CSV files, the same bytes for the same numbers."""

from pathlib import Path

import pandas as pd

from distillery.data.errors import InputError
from distillery.data.files import atomic_write


def write_table(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a CSV file without the index, floats with all their digits."""
    with atomic_write(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def read_table(path: str | Path, text: bool = False) -> pd.DataFrame:
    """Return a table that `write_table` wrote.

    Args:
        path: the CSV file.
        text: whether the cells are text, as names of classes are: `1`, `NA` and the empty name stay what they are.

    Raises:
        InputError: when it is missing or damaged, or has no rows.
    """
    as_text = {"dtype": str, "keep_default_na": False, "na_filter": False} if text else {}
    try:
        frame = pd.read_csv(path, encoding="utf-8", **as_text)
    except (OSError, ValueError) as error:  # pandas' own parser errors are ValueErrors
        raise InputError(
            f"{path}: cannot be read as a table ({' '.join(str(error).split())}); run `dvc repro`"
        ) from None
    if frame.empty:
        raise InputError(f"{path}: found no rows; run `dvc repro`")
    return frame
