"""The run folder: its files, its manifest, its lock. See runs/README.md for the format."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock

from nas.errors import RunError
from nas.files import write_bytes, write_json

DEFAULT_RUNS = Path("runs")
FORMAT = 2
PACKAGES = ("nas", "torch", "torchvision", "optuna", "pillow", "scikit-learn", "numpy")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @classmethod
    def named(cls, runs: Path, name: str) -> "RunFolder":
        """The run ``name`` below ``runs``.

        Raises:
            RunError: the name is not a plain folder name.
        """
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name):
            raise RunError(
                "--run must be 1 to 100 letters, digits, dots, dashes and underscores, not "
                f"beginning with a dot or dash, but is {name!r}; for example --run first-try"
            )
        return cls(runs / name)

    @property
    def study(self) -> Path:
        """The Optuna study, SQLite."""
        return self.path / "study.db"

    @property
    def manifest(self) -> Path:
        """What the run is about, in JSON."""
        return self.path / "run.json"

    @property
    def space(self) -> Path:
        """A copy of the file that the search space is from, if it is code."""
        return self.path / "space.py"

    @property
    def events(self) -> Path:
        """What happened, a line each; see nas.events."""
        return self.path / "events.jsonl"

    @property
    def export(self) -> Path:
        """Where exported models lie."""
        return self.path / "export"

    @property
    def finals(self) -> Path:
        """Where the best genomes are trained again; see nas.finals_folder."""
        return self.path / "finals"

    def trial(self, number: int) -> Path:
        """Folder of one trial's files."""
        return self.path / "trials" / f"{number:05d}"

    def read_manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            RunError: the folder holds no run, or its manifest is damaged.
        """
        try:
            manifest = json.loads(self.manifest.read_text())
        except FileNotFoundError:
            raise RunError(
                f"a run folder has a run.json, but {self.path} has none; "
                "run python -m nas.search first, or name another --run"
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.manifest} cannot be read ({error}); restore it") from None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise RunError(
                f"{self.manifest} must have format {FORMAT}; it is from another version of this "
                "program: use that version, or another --run"
            )
        return manifest

    def begin(self, identity: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        """Note that a search starts or goes on here.

        Args:
            identity: what makes scores of this run comparable; the same at every call.
            session: what may differ from call to call, kept as provenance.

        Raises:
            RunError: the folder cannot be written, or holds a run of another identity.
        """
        known = json.loads(json.dumps(identity))  # as it reads from a file: no tuples
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.path / "run.json.lock"):
                if self.manifest.is_file():
                    manifest = self.read_manifest()
                    self._compare(manifest["identity"], known)
                else:
                    manifest = {"format": FORMAT, "identity": known}
                    manifest |= {"sessions": [], "test_readings": []}
                manifest["sessions"].append({"started": now(), "versions": versions(), **session})
                self._write(manifest)
        except OSError as error:
            raise self._unwritable(error) from None

    def keep_space(self, code: bytes) -> None:
        """Write the file that the search space is from.

        Raises:
            RunError: the folder cannot be written.
        """
        try:
            write_bytes(self.space, code)
        except OSError as error:
            raise self._unwritable(error) from None

    def note_test_reading(self, reading: Mapping[str, Any]) -> int:
        """Record that the test split was opened; returns how often it was for the same weights.

        Args:
            reading: plain values; ``weights_sha256`` tells models apart.
        """
        with filelock.FileLock(self.path / "run.json.lock"):
            manifest = self.read_manifest()
            manifest["test_readings"].append({"date": now(), **reading})
            self._write(manifest)
        digest = reading["weights_sha256"]
        return sum(entry["weights_sha256"] == digest for entry in manifest["test_readings"])

    def _write(self, manifest: Mapping[str, Any]) -> None:
        try:
            write_json(self.manifest, manifest)
        except OSError as error:
            raise self._unwritable(error) from None

    def _compare(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        for name in new:
            shown = name.replace("_", " ")
            if name not in old:
                raise RunError(
                    f"a run keeps to one {shown}, but {self.path} is from a version of this "
                    "program that did not note it; use that version, or another name with --run"
                )
            if old[name] != new[name]:
                part, was, wanted = _difference(old[name], new[name])
                raise RunError(
                    f"a run keeps to one {shown}{part}, but {self.path} was made with {was!r} and "
                    f"is now asked for {wanted!r}; give the old value, or another name with --run"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one writer. The kernel frees the lock if the process dies.

        Raises:
            RunError: another process holds it, or the folder cannot be written.
        """
        lock = filelock.FileLock(self.path / "lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            raise RunError(
                f"one search at a time writes a run folder, but another one is using {self.path}; "
                "wait for it, or name another --run"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            yield
        finally:
            lock.release()

    def _unwritable(self, error: OSError) -> RunError:
        return RunError(
            f"the run folder must be writable, but {self.path} is not "
            f"({error.strerror or error}); mend its permissions, free space, or give another "
            "--runs folder"
        )


def _difference(old: object, new: object) -> tuple[str, object, object]:
    """Of unequal values the part that differs: where, as `` (name)``, and both of it."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            if old.get(name) != new.get(name):
                return f" ({name})", old.get(name), new.get(name)
    return "", old, new


def plain_name(source: str) -> str:
    """A source's name as a part of a folder's: letters, digits and dashes."""
    plain = "".join(c if c.isalnum() and c.isascii() else "-" for c in source).strip("-")
    return plain or "data"


def newest(runs: Path) -> RunFolder:
    """The run that a search worked on last.

    Raises:
        RunError: there is none.
    """
    manifests = sorted(runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    if not manifests:
        raise RunError(
            f"there must be a run to work on, but {runs} has none; run python -m nas.search first"
        )
    return RunFolder(manifests[-1].parent)


def now() -> str:
    """This moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of this code and of the libraries that results depend on."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {**found, "commit": _commit()}


def _commit() -> str:
    """The commit of the checkout that this file is in, with + if it was changed; else unknown."""
    here = Path(__file__).parent
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"
