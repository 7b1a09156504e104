"""Files of backups with one wrong byte, cut short, put together from others, or under another key."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.backups import BACKUP_KEY, SEALER, change_header, members_in_zip, read_members, write_zip
from worker.ops.backup_format import (
    HEADER,
    MANIFEST,
    MAX_LINE,
    MAX_UNPACKED,
    Archive,
    BackupRefused,
    BadBlock,
    Row,
    pack,
    unpack,
    write_archive,
)
from worker.stores.encryption import Purpose, Sealer, generate_key

MADE_AT: Final = "2024-07-25T09:00:00+00:00"
ROWS: Final[dict[str, list[Row]]] = {
    "registry/accounts": [{"id": f"home{number}"} for number in range(5)],
    "measures/day": [{"_id": f"home1:2024-01-{day:02}", "load": day * 1.5} for day in range(1, 31)],
}


def write(path: Path, rows: dict[str, list[Row]] = ROWS, sealer: Sealer = SEALER, made_at: str = MADE_AT) -> Path:
    with write_archive(path, sealer, made_at) as writer:
        for name, of_member in rows.items():
            writer.add(name, of_member)
        writer.finish({"schema": "0001"})
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write(tmp_path / "backup.zip")


def test_rows_of_many_blocks_come_back_in_their_order(tmp_path: Path) -> None:
    rows: list[Row] = [{"number": number, "text": f"{number}é\u2028" * 100} for number in range(2000)]
    assert read_members(write(tmp_path / "large.zip", {"registry/accounts": rows, "empty": []})) == {
        "registry/accounts": rows,
        "empty": [],
    }


@pytest.mark.slow
@pytest.mark.parametrize("flip", [0xFF, 0x01, 0x40])
def test_whichever_byte_is_wrong_it_is_refused_or_gives_the_same_rows(archive: Path, flip: int) -> None:
    """Some bytes change nothing: they are stored twice, like a member's name, or are not used, like its time."""
    good = archive.read_bytes()
    refused = set()
    for place in range(len(good)):
        archive.write_bytes(good[:place] + bytes([good[place] ^ flip]) + good[place + 1 :])
        try:
            assert read_members(archive) == ROWS, f"byte {place}"
        except BackupRefused as error:
            assert "\n" not in str(error)
            refused.add(place)
    archive.write_bytes(good)
    for content in members_in_zip(archive).values():
        start = good.index(content)
        assert refused >= set(range(start, start + len(content))), "no byte of a member can be changed"


def test_wherever_it_is_cut_it_is_refused(archive: Path) -> None:
    good = archive.read_bytes()
    for length in range(len(good)):
        archive.write_bytes(good[:length])
        with pytest.raises(BackupRefused):
            read_members(archive)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_byte_changed_together_with_the_sums_of_the_zip_is_refused(archive: Path, data: st.DataObject) -> None:
    members = members_in_zip(archive)
    name = data.draw(st.sampled_from(sorted(set(members) - {HEADER})))
    place = data.draw(st.integers(0, len(members[name]) - 1))
    content = bytearray(members[name])
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    changed = archive.with_name("changed.zip")
    write_zip(changed, {**members, name: bytes(content)})
    with pytest.raises(BackupRefused):
        read_members(changed)


def test_blocks_in_another_place_are_refused(archive: Path, tmp_path: Path) -> None:
    """Each block is genuine; order, number and place are what the manifest signs."""
    members = members_in_zip(archive)
    days, accounts = members["measures/day"], members["registry/accounts"]
    other = members_in_zip(write(tmp_path / "other.zip", {"registry/accounts": [{"id": "planted"}]}))
    for changes in (
        {"measures/day": accounts, "registry/accounts": days},
        {"measures/day": days + days},
        {"measures/day": bytes([days[0], days[1] + 1]) + days[2:]},  # A length beyond the end.
        {"measures/day": b""},
        {"registry/accounts": other["registry/accounts"]},
        {MANIFEST: other[MANIFEST]},
        {HEADER: members[HEADER].replace(b"09:00", b"10:00")},
    ):
        write_zip(archive, {**members, **changes})
        with pytest.raises(BackupRefused):
            read_members(archive)


def test_two_blocks_that_changed_places_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "large.zip", {"rows": [{"n": n, "text": "x" * 1000} for n in range(600)]})
    members = members_in_zip(path)
    content, blocks = members["rows"], list[bytes]()
    while content:
        length = 4 + int.from_bytes(content[:4], "big")
        blocks, content = [*blocks, content[:length]], content[length:]
    assert len(blocks) > 2
    for changed in ([blocks[1], blocks[0], *blocks[2:]], blocks[:-1], [*blocks, blocks[0]]):
        write_zip(path, {**members, "rows": b"".join(changed)})
        with pytest.raises(BackupRefused, match="damaged or was changed in rows"):
            read_members(path)


def test_an_archive_opens_with_an_older_key_that_is_still_given_and_with_no_other(archive: Path) -> None:
    with Archive.open(archive, Sealer([generate_key(), BACKUP_KEY], Purpose.BACKUP)) as opened:
        opened.check()
    with (
        pytest.raises(BackupRefused, match=r"RELEVE_BACKUP_KEYS.*backup\.keys"),
        Archive.open(archive, Sealer([generate_key()], Purpose.BACKUP)),
    ):
        pass


def test_an_archive_in_the_encryption_of_before_names_the_version_that_reads_it(archive: Path) -> None:
    change_header(archive, format=2)
    with pytest.raises(BackupRefused, match=r"only version 0\.2\.0 reads"):
        read_members(archive)


def test_what_says_that_it_is_ours_is_not_trusted(archive: Path) -> None:
    """A header may be written by anybody: without a manifest under our key nothing is read."""
    own = Sealer([generate_key()], Purpose.BACKUP)
    members = members_in_zip(write(archive.with_name("own.zip"), sealer=own))
    write_zip(archive, {**members_in_zip(archive), MANIFEST: members[MANIFEST]})
    with pytest.raises(BackupRefused):
        read_members(archive)
    write_zip(archive, {HEADER: json.dumps({"format": "many"}).encode()})
    with pytest.raises(BackupRefused, match="not a backup of Relève"):
        read_members(archive)
    write_zip(archive, {HEADER: b" " * 20_000})
    with pytest.raises(BackupRefused, match="not a backup of Relève"):
        read_members(archive)


def test_lines_and_blocks_have_bounds(tmp_path: Path) -> None:
    """M7: nothing is unpacked beyond a bound, and nothing is saved that would be refused."""
    with pytest.raises(BackupRefused, match=f"rows can't be backed up: a row has .*, and a backup allows {MAX_LINE}"):
        write(tmp_path / "large.zip", {"rows": [{"text": "x" * MAX_LINE}]})
    assert list(tmp_path.iterdir()) == []
    assert unpack(pack(b"x" * MAX_UNPACKED, SEALER, "a/0"), SEALER, "a/0") == b"x" * MAX_UNPACKED
    for bomb in (
        pack(b"x" * (MAX_UNPACKED + 1), SEALER, "a/0"),
        SEALER.seal_bytes(zlib.compress(b"x")[:-1], "a/0"),
        pack(b"x", SEALER, "a/1"),
    ):
        with pytest.raises(BadBlock):
            unpack(bomb, SEALER, "a/0")
    path = write(tmp_path / "long.zip")
    long_line = pack(b"x" * (MAX_LINE + 1), SEALER, "measures/day/0")
    for content in (len(long_line).to_bytes(4, "big") + long_line, b"\xff\xff\xff\xff", b"\x00"):
        write_zip(path, {**members_in_zip(path), "measures/day": content})
        with pytest.raises(BackupRefused, match="damaged or was changed in measures/day"):
            read_members(path)


def test_it_is_stored_without_being_compressed_again(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        assert {member.compress_type for member in file.infolist()} == {zipfile.ZIP_STORED}
