"""The reading of files of any known format, which is recognised by its content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from worker.domain.files.file_series import FileSeries
from worker.domain.files.recognition import read_document
from worker.domain.files.sources import Source


def read_file(name: str, content: BinaryIO) -> Iterator[FileSeries]:
    """Yield the series of a file, or of all files in a ZIP; ``content`` can be sought in.

    A file has several series where it has several meters, or registers and the daily energy between them. Time and
    memory are bounded. Raises FileRefused.
    """
    yield from read_document(Source.of(name), content)
