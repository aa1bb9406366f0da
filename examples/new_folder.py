"""A folder that is written whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder, which takes the name `out` when the block ends without an exception.

    Raises:
        ValueError: when there is something of that name already.
    """
    if out.exists():
        raise ValueError(f"{out}: exists; accepted: a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        folder = Path(temporary) / "new"
        folder.mkdir()
        yield folder
        folder.rename(out)
