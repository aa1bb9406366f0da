"""The local database of a checkout that was copied or moved: MLflow stores where artifacts lie, absolute."""

import sqlite3
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from distillery.data.errors import InputError
from pipeline.resume import repository
from pipeline.tracking.servers import DATABASE

ARTIFACTS = "mlartifacts"
RUNS = {"runs": "artifact_uri", "logged_models": "artifact_location", "model_versions": "storage_location"}


def adopt_artifacts() -> str:
    """Let the local database point to the artifacts of this checkout, all or nothing.

    Without this, new artifacts go to where the checkout was, or to the one from which it was copied.

    Returns:
        What was done, in one line; empty where nothing was to do.

    Raises:
        InputError: when the database cannot be read.
    """
    here = repository().resolve()
    if not (here / DATABASE).is_file():
        return ""
    connection = sqlite3.connect(here / DATABASE, timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN")
        formers = {former for (uri,) in _locations(connection) if (former := _former(uri, here))}
        if formers:
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
        for former in formers:
            _point(connection, "experiments", "artifact_location", former, here)
            if (here / ARTIFACTS).is_dir():  # else they stay readable where they are, if they are
                for table, column in RUNS.items():
                    _point(connection, table, column, former, here)
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):  # MLflow has not filled it yet
            return ""
        raise InputError(f"{here / DATABASE}: cannot be read ({error}); without it, MLflow makes another") from None
    finally:
        connection.close()
    if not formers:
        return ""
    return f"this checkout was moved or copied from {', '.join(map(str, sorted(formers)))}: artifacts now lie in {here}"


def _locations(connection: sqlite3.Connection) -> list[tuple[str]]:
    query = f"SELECT artifact_location FROM experiments WHERE artifact_location LIKE '%/{ARTIFACTS}'"
    return connection.execute(query).fetchall()


def _former(uri: str, here: Path) -> Path | None:
    """Return the checkout, another one than this, to which an experiment's location belongs; None if to none.

    What somebody chose on purpose, `/disk/mlartifacts`, is neither in a checkout nor in a folder that is gone.
    """
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return None
    checkout = Path(url2pathname(parts.path)).parent
    chosen = checkout.is_dir() and not any((checkout / name).is_file() for name in ("dvc.yaml", DATABASE))
    return None if chosen or checkout == here else checkout


def _point(connection: sqlite3.Connection, table: str, column: str, former: Path, here: Path) -> None:
    """Replace the beginning of the locations in a former checkout: file URIs, and MLflow's plain paths."""
    for old, new in ((former.as_uri(), here.as_uri()), (str(former), str(here))):
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
            (new, len(old) + 1, len(old) + 1, f"{old}/"),
        )
