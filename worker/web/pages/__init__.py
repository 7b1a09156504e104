"""Pages of households: first page, account, series, download, stop, removal. Operators have their own."""

from __future__ import annotations

from fastapi import APIRouter

from worker.web.pages import account, home, remove, series, stop
from worker.web.pages.files import download, download_file, import_files
from worker.web.pages.homes import joined

router = APIRouter(include_in_schema=False)
for _module in (home, account, joined, series, download, download_file, import_files, stop, remove):
    router.include_router(_module.router)
