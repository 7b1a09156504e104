"""A column of seals, sealed anew under the first key: page by page, beside whoever works."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, select, update

from worker.errors import OperatorFault
from worker.stores.encryption import Sealer
from worker.stores.registry.database import Database

PAGE = 500


def rotate_seals(
    database: Database, sealer: Sealer, key: Column[Any], seals: Column[Any], what: str, *, page: int | None = None
) -> int:
    """How many ``seals``, found by their row's ``key``, are under the first key now.  Safe to repeat and to stop.

    Raises OperatorFault at the end if some could not be read; the others are done.  ``what`` they are, it says.
    ``page``: rows held at once, PAGE unless told.  Seals are text or bytes.
    """
    done, unread, after = 0, 0, ""
    while turned := _rotate_page(database, sealer, key, seals, after, page or PAGE):
        after = turned[-1][0]
        done += sum(readable for _, readable in turned)
        unread += sum(not readable for _, readable in turned)
    if unread:
        raise OperatorFault(
            f"{done} {what} are sealed under the first key, {unread} can't be read: put the key they were "
            "sealed under back into RELEVE_TOKEN_KEYS and rotate again"
        )
    return done


def _rotate_page(
    database: Database, sealer: Sealer, key: Column[Any], seals: Column[Any], after: str, limit: int
) -> list[tuple[str, bool]]:
    """The keys of the next page, each with whether its seal could be read."""
    query = select(key, seals).where(key > after, seals.is_not(None)).order_by(key).limit(limit)
    page = []
    with database.writing() as connection:
        for found, sealed in connection.execute(query.with_for_update()).all():
            try:
                rotated = sealer.rotate_bytes(sealed) if isinstance(sealed, bytes) else sealer.rotate(sealed)
            except OperatorFault:  # counted; one lost key must not keep the rest from moving on
                page.append((found, False))
                continue
            connection.execute(update(seals.table).where(key == found).values({seals: rotated}))
            page.append((found, True))
    return page
