"""A PostgreSQL server of the tests' own, from the distribution's package, on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER_USER = "postgres"
"""The server refuses to run as root."""


def found() -> Path | None:
    """Folder of the server's programs, or None where it is not installed."""
    on_path = shutil.which("pg_ctl")
    if on_path is not None:
        return Path(on_path).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return versions[-1].parent if versions else None


@contextmanager
def running() -> Iterator[str]:
    """Start a server, give its URL, and stop it.

    Its files are in a folder of its own: pytest's folders are their user's only.
    """
    with tempfile.TemporaryDirectory(prefix="nas-postgres-") as folder:
        yield from _running(Path(folder))


def _running(folder: Path) -> Iterator[str]:
    programs = found()
    assert programs is not None
    user = SERVER_USER if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)

    def call(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(folder / "data"), *arguments]
        done = subprocess.run(
            command,
            user=user,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout

    name = "nas"
    call("initdb", "-U", name, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C")
    port = _free_port()
    options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -p {port} -F"
    call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://{name}@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-w", "-m", "immediate", "stop")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
