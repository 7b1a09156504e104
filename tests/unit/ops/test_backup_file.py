"""Files of backups with one wrong byte, or cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from worker.ops.backup_file import Archive, BackupRefused, Row, write_archive

ROWS: Final[dict[str, list[Row]]] = {
    "registry/accounts.ndjson": [{"id": f"home{number}"} for number in range(5)],
    "measures/day.ndjson": [{"_id": f"home1:2024-01-{day:02}", "load": day * 1.5} for day in range(1, 31)],
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "backup.zip"
    with write_archive(path) as writer:
        for name, rows in ROWS.items():
            writer.add(name, rows)
        writer.finish({"schema": "0001"})
    return path


def read_whole(path: Path) -> dict[str, list[Row]]:
    with Archive.open(path) as archive:
        archive.check()
        return {name: list(archive.rows(name)) for name in archive.manifest["members"]}


@pytest.mark.slow
@pytest.mark.parametrize("flip", [0xFF, 0x01, 0x40])
def test_whichever_byte_is_wrong_it_is_refused_or_gives_the_same_rows(archive: Path, flip: int) -> None:
    """Some bytes change nothing: they are stored twice, like a member's name, or are not used, like its time."""
    good = archive.read_bytes()
    refusals = 0
    for place in range(len(good)):
        archive.write_bytes(good[:place] + bytes([good[place] ^ flip]) + good[place + 1 :])
        try:
            assert read_whole(archive) == ROWS, f"byte {place}"
        except BackupRefused as error:
            assert "\n" not in str(error)
            refusals += 1
    assert refusals > len(good) / 2


def test_wherever_it_is_cut_it_is_refused(archive: Path) -> None:
    good = archive.read_bytes()
    for length in range(len(good)):
        archive.write_bytes(good[:length])
        with pytest.raises(BackupRefused):
            read_whole(archive)
