"""The version of this folder, read from setup.cfg."""

from __future__ import annotations

import configparser
from typing import Final

from tools.lock_files import ROOT

_SETUP = configparser.ConfigParser()
_SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
VERSION: Final = _SETUP["metadata"]["version"]
