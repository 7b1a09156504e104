"""Archives and the bounds of what is read: nothing that a file declares or holds makes reading endless."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import pytest

from tests.support.downloaded_files import pack, read, refusal, workbook, workbook_parts
from tests.unit.domain.files.test_customer_site import days_book
from tests.unit.domain.files.test_enedis_exports import CURVE_HEAD, METER, curve, day_of_rows
from tests.unit.domain.files.test_portal_exports import CURVE_HEAD as PORTAL_HEAD
from tests.unit.domain.files.test_portal_exports import curve_row
from worker.domain.files import read_file
from worker.domain.files.cells import MAX_BYTES, MAX_ROWS, FileFault, FileRefused
from worker.domain.files.workbooks import MAX_MEMBERS

CURVE = curve(day_of_rows("252", "286"))


def test_the_files_of_an_archive_are_read_in_order_and_named_with_it() -> None:
    members = {f"mes données/Enedis_Conso_Heure_1_{METER}.csv": CURVE, "jours.xlsx": days_book([["01/01/2025", 1]])}
    junk = {"__MACOSX/._x.csv": b"\0", ".DS_Store": b"\0", "vide/": b"", "Thumbs.db": b"\0"}
    found = read("tout.zip", pack({**junk, **members}))
    assert [(series.file, series.format) for series in found] == [
        ("tout.zip/mes données/Enedis_Conso_Heure_1_…0011.csv", "enedis-hour"),
        ("tout.zip/jours.xlsx", "enedis-site-days"),
    ]
    assert found[0].readings == read("x", CURVE)[0].readings


def test_a_packed_file_is_read() -> None:
    assert read("x.csv.gz", gzip.compress(CURVE.encode())) == read("x.csv.gz", CURVE)
    assert refusal("x", gzip.compress(CURVE.encode())[:-20]).startswith("x: can't be read (EOFError)")
    assert refusal("x", b"\x1f\x8bnot gzip").startswith("x: can't be read (BadGzipFile)")
    assert "archive inside an archive" in refusal("x", gzip.compress(pack({"a.csv": CURVE})))
    assert "archive inside an archive" in refusal("x", gzip.compress(gzip.compress(CURVE.encode())))
    assert refusal("x", gzip.compress(b"")) == "x: it is empty"


def _encrypted() -> bytes:
    content = bytearray(pack({"a.csv": CURVE}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


def _lying() -> bytes:
    """An archive whose list says that a member is small."""
    content = bytearray(pack({"a.csv": "x" * 5000}))
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<L", 10)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pack({"a.csv": pack({"b.csv": CURVE})}), "x/a.csv: an archive inside an archive is not supported"),
        (
            pack({"a.csv.gz": gzip.compress(CURVE.encode())}),
            "x/a.csv.gz: an archive inside an archive is not supported",
        ),
        (_encrypted(), "x, line 1: an encrypted file is not supported"),
        (pack({"a.csv": CURVE}, zipfile.ZIP_BZIP2), "x, line 1: its compression is not supported"),
        (pack({"a.csv": CURVE}, zipfile.ZIP_LZMA), "x, line 1: its compression is not supported"),
        (pack({}), "x: an empty archive"),
        (pack({".hidden": b"1"}), "x: an empty archive"),
        (pack({f"{n}.csv": b"" for n in range(MAX_MEMBERS + 1)}), f"x: more than {MAX_MEMBERS} files in the archive"),
        (pack({f"{n:0400}.csv": b"" for n in range(4000)}), f"x: more than {MAX_MEMBERS} files in the archive"),
        (pack({"a.csv": CURVE})[:-30], "x: a damaged or incomplete archive"),
        (b"PK\x03\x04" + b"x" * 100, "x: a damaged or incomplete archive"),
        (_lying(), "x/a.csv: can't be read (BadZipFile)"),
        (pack({"a.csv": b"\0" * (2 << 20)}), "x, line 1: it unpacks to far more than a file of measures can"),
        (pack({"a.csv": CURVE, "b.csv": "x"}), "x/b.csv: unknown format"),
    ],
    ids=range(14),
)
def test_an_archive_out_of_bounds_is_refused(content: bytes, reason: str) -> None:
    assert refusal("x", content).startswith(reason)


def test_a_file_that_is_refused_stops_no_other_one_of_the_archive() -> None:
    found: list[str] = []
    members = {"facture.csv": b"%PDF-1.4", "a.csv": CURVE, "vide.csv": b"", "b.csv": CURVE}
    with pytest.raises(FileRefused) as caught:
        found.extend(series.file for series in read_file("x.zip", io.BytesIO(pack(members))))
    assert found == ["x.zip/a.csv", "x.zip/b.csv"]
    assert str(caught.value).startswith("x.zip/facture.csv: a PDF is not supported")
    assert str(caught.value).endswith("(and 1 more of the archive's files are refused)")
    assert caught.value.why is FileFault.UNSUPPORTED


@pytest.mark.parametrize(
    ("name", "content"),
    [("lisez-moi.pdf", "%PDF-1.4"), ("readme.txt", "Vos données"), ("LISEZMOI.TXT", ""), ("aide.html", "<html><body>")],
)
def test_a_text_beside_a_file_of_measures_is_no_failure(name: str, content: str) -> None:
    assert [series.file for series in read("x.zip", pack({name: content, "a.csv": CURVE}))] == ["x.zip/a.csv"]
    assert refusal("x.zip", pack({name: content})).startswith(f"x.zip/{name}: ")
    assert refusal("x.zip", pack({name: content, "a.csv": CURVE, "b.csv": "x"})) == refusal(
        "x.zip", pack({"a.csv": CURVE, "b.csv": "x"})
    )
    assert "too long" in refusal("x.zip", pack({"a.csv": CURVE, "readme.txt": "x" * 40_000}))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_text_in_utf_16_is_read_with_a_byte_order_mark_or_without(encoding: str) -> None:
    assert read("x.csv", CURVE.lstrip("\ufeff").encode(encoding)) == read("x.csv", CURVE)


def test_lines_of_nothing_but_cells_are_not_looked_at() -> None:
    """Sixty such lines took seven seconds, in an archive of a few kilobytes."""
    assert refusal("x", ("Horodate;Valeur;" + "é;" * 10_000 + "\n") * 60).startswith("x: unknown format")
    assert "cells can't be separated" in refusal("x", CURVE + ";" * 10_000)


def test_an_archive_that_declares_too_much_is_refused_before_it_is_unpacked() -> None:
    rows = b"".join(b"%d;\n" % number for number in range(120_000))
    content = pack({f"{n}.csv": rows for n in range(3)})
    declared = content
    for size in (MAX_BYTES + 1, 0x7FFFFFFF):
        declared = _with_size(content, size)
        assert refusal("x", declared).startswith("x")


def _with_size(content: bytes, size: int) -> bytes:
    changed, at = bytearray(content), -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        changed[at + 24 : at + 28] = struct.pack("<L", size)
    return bytes(changed)


class _Endless(io.RawIOBase):
    """File of a gigabyte, made as it is read; it counts what was read of it."""

    def __init__(self, start: bytes, line: bytes) -> None:
        super().__init__()
        self.start, self.line, self.at, self.read_bytes = start, line, 0, 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.at = offset if whence == 0 else (1 << 30)
        return self.at

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None and 0 <= size <= MAX_BYTES, "a file is read by pieces"
        content = (self.start if self.at == 0 else b"")[:size]
        content += self.line * ((size - len(content)) // len(self.line))
        self.at += len(content)
        self.read_bytes += len(content)
        return content


@pytest.mark.parametrize(
    ("start", "line", "reason"),
    [
        (
            PORTAL_HEAD.encode(),
            curve_row("2024-01-10 00:30:00", 1, physical="PRI").encode(),
            f"more than {MAX_ROWS} rows",
        ),
        (CURVE_HEAD.encode(), b"\n", "blank ones among them"),
        (CURVE_HEAD.encode(), b" " * 5_000 + b"\n", "larger than 64 MB"),
        (b"hello\n", b"world\n", "unknown format"),
        (b"{", b'{"a": 1},\n', "more than 16 MB of JSON"),
        (b"PK\x03\x04", b"x" * 100, "larger than 64 MB"),
        (b"", b"1" * 100, "a line is too long"),
    ],
)
def test_a_gigabyte_is_refused_without_being_read(start: bytes, line: bytes, reason: str) -> None:
    content = _Endless(start, line)
    with pytest.raises(FileRefused, match=reason) as caught:
        list(read_file("x", content))  # type: ignore[arg-type]
    assert not reason.endswith("rows") or caught.value.why is FileFault.TOO_LARGE
    assert content.read_bytes <= MAX_BYTES + (1 << 20)


def _deflated_zeros(megabytes: int) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=31)
    for _ in range(megabytes):
        yield packer.compress(b"\n" * (1 << 20))
    yield packer.flush()


def test_a_packed_bomb_is_unpacked_to_its_bound_alone() -> None:
    assert refusal("x", b"".join(_deflated_zeros(80))).startswith("x: ")


@pytest.mark.rest
def test_a_workbook_in_an_archive_has_the_bounds_of_a_workbook() -> None:
    parts = workbook_parts({"x": [["Date"]]})
    bomb = pack({**parts, "xl/worksheets/sheet1.xml": b"<a>" + b" " * (40 << 20) + b"</a>"}, zipfile.ZIP_STORED)
    assert "a workbook larger than 32 MB unpacked" in refusal("x", pack({"a.xlsx": bomb}, zipfile.ZIP_STORED))
    assert "unknown format" in refusal("x", pack({"a.xlsx": workbook({"x": [["Date"]]})}))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (workbook({"a": [["x", "y"], [1, 2]]}), FileFault.UNKNOWN),
        (pack({"mimetype": "x", "content.xml": "<a/>"}), FileFault.UNSUPPORTED),
        (pack({"a.ods": pack({"mimetype": "x", "content.xml": "<a/>"})}), FileFault.UNSUPPORTED),
        (pack({"a.zip": pack({"b.csv": "x"})}), FileFault.UNSUPPORTED),
        (pack({}), FileFault.EMPTY),
        ("Début;Fin;Valeur (en kW)\n", FileFault.EMPTY),
        (CURVE_HEAD, FileFault.EMPTY),
        (PORTAL_HEAD + curve_row("2024-01-10 00:30:00", 1, step="P1D"), FileFault.UNSUPPORTED),
        (PORTAL_HEAD + curve_row("2024-01-10 00:30:00", 1, physical="PMA"), FileFault.UNSUPPORTED),
        (gzip.compress(b"Horodate;Valeur\n" + b"\n" * (4 * MAX_ROWS)), FileFault.TOO_LARGE),
        (gzip.compress(CURVE_HEAD.encode() + (b"x" * 30_000 + b"\n")), FileFault.DAMAGED),
        (CURVE_HEAD + "2024-01-10T00:3", FileFault.DAMAGED),
    ],
    ids=range(12),
)
def test_why_a_file_is_refused_is_told_apart(content: str | bytes, why: FileFault) -> None:
    """Pages advise by it: to download again what is too large or of another kind helps nobody."""
    with pytest.raises(FileRefused) as caught:
        read("x", content)
    assert caught.value.why is why, str(caught.value)


@pytest.mark.parametrize("names, reason", [(9_000, "not a list of objects"), (20_000, "unknown format")])
def test_json_with_more_names_than_any_export_is_refused_before_it_is_parsed(names: int, reason: str) -> None:
    inner = ",".join(f'"name{number}": 1' for number in range(names))
    text = f'{{"header": {{"codeFlux": "R63"}}, "mesures": {{{inner}}}}}'
    with pytest.raises(FileRefused, match=reason):
        list(read_file("x", io.BytesIO(text.encode())))
