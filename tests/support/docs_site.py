"""The documentation's site, built in a folder of its own, and served without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.pages import ROOT


def copy_docs(folder: Path) -> Path:
    """Copy the pages and the site's configuration to a new folder, and return it."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    return folder


def build_site(folder: Path) -> Path:
    """Build the site of a folder with `docs/` and `mkdocs.yml`, and return its folder; AssertionError for a warning."""
    program = Path(sys.executable).with_name("zensical")
    command = [program, "build", "--config-file", "mkdocs.yml", "--strict", "--clean"]
    built = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "build" / "site"


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def serve_site(site: Path) -> Iterator[str]:
    """Serve a built site on this machine, and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
