"""What a household looks at: connect, watch, read, take along, remove."""

from __future__ import annotations

from fastapi import APIRouter

from worker.web.pages import account, download, home, remove

router = APIRouter(include_in_schema=False)
for _part in (home, account, download, remove):
    router.include_router(_part.router)
