"""The way to a Ray cluster."""

import socket

from distillery.data.errors import InputError


def has_node_for(cpus: float, gpus: float) -> bool:
    """Return whether a node that is there now has so many of both; else a task waits for one to join."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes)


def connect(named: str, address: str, **options) -> None:
    """Connect this process to a Ray cluster.

    Args:
        named: what names its address, for messages: `RAY_ADDRESS`.
        address: `auto` or `host:port`.
        options: for `ray.init`.

    Raises:
        InputError: when Ray is not installed, or no cluster answers within five seconds.
    """
    try:
        import ray
    except ImportError:
        missing = f"{named}: is given, and Ray is not installed; pip install -r requirements/ray.txt"
        raise InputError(missing) from None
    try:
        if address != "auto":  # Ray itself would ask for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(address=address, log_to_driver=False, logging_level="error", **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{named}: found {address!r}; no cluster answers there ({reason})") from None
