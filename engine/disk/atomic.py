"""Publication that survives a crash: write aside, fsync, rename; and digests that prove content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.disk.failpoints import failpoint
from engine.errors import CorruptArtifact

MANIFEST = "manifest.json"


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably: a reader sees the old content or the new, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb", opener=_private) as file:
            file.write(data)
            file.flush()
            failpoint("write.before-fsync")
            os.fsync(file.fileno())
        failpoint("write.before-rename")
        os.replace(aside, path)
        failpoint("write.after-rename")
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically; non-finite numbers are refused (they are not JSON)."""
    text = json.dumps(value, indent=1, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; raise CorruptArtifact naming it if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise CorruptArtifact(f"{path}: not JSON ({error})") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; raise CorruptArtifact naming it if it does not."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise CorruptArtifact(f"{path}: {type(value).__name__}, not an object")
    return value


def sync_directory(path: Path) -> None:
    """Make renames inside a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    """Return the sha256 of a file as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish_directory(aside: Path, final: Path) -> None:
    """Write the manifest of a finished directory and rename it into place.

    Every file is fsynced first; the manifest holds name, size and sha256 of each. A directory that
    stands in the way is renamed aside before and removed after, so that a complete one exists at
    every moment but the instant between two renames.
    """
    # An attempt that was killed here before may have left its manifest.
    (aside / MANIFEST).unlink(missing_ok=True)
    files = sorted(path for path in aside.rglob("*") if path.is_file())
    manifest = {
        str(path.relative_to(aside)): {"bytes": path.stat().st_size, "sha256": digest(path)}
        for path in files
    }
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    write_json(aside / MANIFEST, manifest)
    failpoint("publish.before-rename")
    replaced = final.with_name(f".{final.name}.{os.getpid()}.old")
    if final.exists():
        # In a container every process has the same number: one that was killed here left this behind.
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(final, replaced)
        failpoint("publish.between-renames")
    os.rename(aside, final)
    failpoint("publish.after-rename")
    sync_directory(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def verify_directory(path: Path) -> None:
    """Compare every file of a published directory with its manifest.

    Raises:
        CorruptArtifact: a file is missing, has another size or another digest.
    """
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise CorruptArtifact(f"{path}: no {MANIFEST}")
    verify_files(path, read_object(manifest_path))


def verify_files(root: Path, manifest: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare files below `root` with recorded sizes and digests; raise CorruptArtifact on the first
    that differs."""
    for name, recorded in manifest.items():
        file = root / name
        if not isinstance(recorded, dict) or not {"bytes", "sha256"} <= set(recorded):
            raise CorruptArtifact(f"{root}: its {MANIFEST} has no size and digest for {name}")
        if not file.is_file():
            raise CorruptArtifact(f"{file}: missing")
        if file.stat().st_size != recorded["bytes"]:
            raise CorruptArtifact(
                f"{file}: {file.stat().st_size} bytes, recorded {recorded['bytes']}"
            )
        if digest(file) != recorded["sha256"]:
            raise CorruptArtifact(f"{file}: content differs from its recorded sha256")
