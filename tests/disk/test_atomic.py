from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.disk.atomic import (
    publish_directory,
    read_json,
    verify_directory,
    write_bytes,
    write_json,
)
from engine.errors import CorruptArtifact


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(TypeError):
        write_bytes(path, "text")  # type: ignore[arg-type]
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]


def test_the_digest_of_a_known_text_is_in_the_manifest(tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    (aside / "abc").write_text("abc")
    publish_directory(aside, tmp_path / "final")
    manifest = json.loads((tmp_path / "final" / "manifest.json").read_text())
    # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest == {"abc": {"bytes": 3, "sha256": digest}}
    assert not aside.exists()


def test_publishing_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        aside = tmp_path / "aside"
        aside.mkdir()
        (aside / name).write_text(name)
        publish_directory(aside, tmp_path / "final")
    assert sorted(p.name for p in (tmp_path / "final").iterdir()) == ["manifest.json", "two"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["final"]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    aside = tmp_path / "aside"
    (aside / "sub").mkdir(parents=True)
    (aside / "sub" / "data").write_bytes(bytes(range(100)))
    publish_directory(aside, tmp_path / "final")
    return tmp_path / "final"


def test_a_sound_folder_verifies(published: Path) -> None:
    verify_directory(published)


def test_a_flipped_bit_is_found(published: Path) -> None:
    data = bytearray((published / "sub" / "data").read_bytes())
    data[50] ^= 1
    (published / "sub" / "data").write_bytes(data)
    with pytest.raises(CorruptArtifact, match="sha256"):
        verify_directory(published)


def test_truncation_a_missing_file_and_a_missing_manifest_are_found(published: Path) -> None:
    file = published / "sub" / "data"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptArtifact, match="99 bytes, recorded 100"):
        verify_directory(published)
    file.unlink()
    with pytest.raises(CorruptArtifact, match="missing"):
        verify_directory(published)
    (published / "manifest.json").write_text("{")
    with pytest.raises(CorruptArtifact, match="not JSON"):
        verify_directory(published)
    (published / "manifest.json").unlink()
    with pytest.raises(CorruptArtifact, match=r"no manifest\.json"):
        verify_directory(published)
