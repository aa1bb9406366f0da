"""The tracking server of a run, by its URI; its password stays in the environment: no file and no line has it."""

import os
import re
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from pipeline.resume import repository

LOCAL = ""  # the database of the repository, wherever that is
DATABASE = "mlflow.db"
# The user's part of a URI, also where a password holds an unquoted "@" or "/"; and passwords among its parameters.
USER = re.compile(r"(?<!file)(?<!sqlite)://\S*@")
PARAMETER = re.compile(r"(?i)((?:password|passwd|pwd|token|secret)[a-z_]*=)[^&\s'\"]+")


class PasswordMissing(Exception):
    """A server is to be asked whose password is not in the environment."""


def masked(text: str) -> str:
    """Return a text, as of an error, without the passwords of URIs and those that MLflow takes from the environment."""
    text = PARAMETER.sub(r"\1***", USER.sub("://***@", text))
    secrets = [os.environ.get(name, "") for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")]
    with suppress(ValueError):  # no URI: an odd bracket
        secrets.append(urlsplit(os.environ.get("MLFLOW_TRACKING_URI", "")).password or "")
    for secret in filter(None, {*secrets, *map(unquote, secrets)}):
        text = text.replace(secret, "***")
    return text


def server_of(uri: str) -> str:
    """Return how a run log names a server: its URI without passwords; LOCAL for the repository's own database."""
    own = {f"sqlite:///{DATABASE}", f"sqlite:///./{DATABASE}", f"sqlite:///{repository() / DATABASE}"}
    return LOCAL if uri in own else _without_passwords(uri)


def present_server() -> str:
    """Return the server that MLFLOW_TRACKING_URI names now."""
    return server_of(os.environ.get("MLFLOW_TRACKING_URI") or LOCAL)


def address(server: str) -> str:
    """Return the URI with which MLflow finds a server.

    Args:
        server: as a run log names it.

    Raises:
        PasswordMissing: if it needs a password that is not in the environment.
    """
    if server == LOCAL:
        path = str(repository() / DATABASE)
        # SQLAlchemy has no way to write a question mark; sync works in the repository.
        return f"sqlite:///{DATABASE}" if "?" in path else f"sqlite:///{path}"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or ""
    if _without_passwords(uri) == server:
        return uri
    if "***" in server:
        raise PasswordMissing(f"passwords are not kept: set MLFLOW_TRACKING_URI to {server} with its password")
    return server


def described(server: str) -> str:
    """Return a server in words."""
    return str(repository() / DATABASE) if server == LOCAL else server


def _without_passwords(uri: str) -> str:
    return PARAMETER.sub(r"\1***", USER.sub("://***@", uri))
