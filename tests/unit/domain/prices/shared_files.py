"""Real files beside the repository: the regulator's, and the colours of eleven years; tests run without them too."""

from __future__ import annotations

from typing import Final

import pytest

from tools.lock_files import ROOT

FOLDER: Final = ROOT.parent / "shared/data/prices"
needs_shared_files = pytest.mark.skipif(not FOLDER.is_dir(), reason="there is no folder of real files")


def read_shared(name: str) -> str:
    return (FOLDER / name).read_text("utf-8-sig")
