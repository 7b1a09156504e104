"""The sealed values of the registry, and their rotation to a new key.

``SEALED_COLUMNS`` are sealed with RELEVE_TOKEN_KEYS, and ``WEB_SEALS`` with RELEVE_SESSION_KEY, which only the web
application has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, delete, select, tuple_, update

from worker.errors import OperatorFault
from worker.stores.database import Database, place_of
from worker.stores.encryption import Sealer
from worker.stores.registry.tables import (
    ACCESS_KEYS,
    ACCOUNT_DETAILS,
    CAMPAIGN_RECIPIENTS,
    CONSENT_CHAIN,
    CONSENT_EVIDENCE,
    HOUSEHOLDS,
    INVITATIONS,
    MAIL_ADDRESSES,
    OPERATORS,
    OUTPUTS,
    QUARANTINE,
    RAW_ANSWERS,
    RIGHTS,
    TENANTS,
    TOKENS,
)

PAGE = 100  # The number of rows that a rotation locks at a time.


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed texts or bytes. ``sealed_at`` orders its rows by age.

    ``is_kept``: whether the row of a value that no key can unseal is kept. An invitation isn't kept, because nobody
    could use it. A deviation in the quarantine isn't kept, because it is stored again the next time it comes.
    """

    label: str
    seals: Column[Any]
    sealed_at: Column[Any]
    is_kept: bool = True
    setting: str = "RELEVE_TOKEN_KEYS"

    @property
    def key(self) -> tuple[Column[Any], ...]:
        """The columns that identify a row. The primary key of a proof is its place in the chain."""
        table = self.seals.table
        return (table.c.consent_id,) if table is CONSENT_EVIDENCE else tuple(table.primary_key)

    def place_of(self, *row_key: str) -> str:
        """Return the place to which the sealed value of a row is bound (``encryption.Sealer``)."""
        return place_of(self.seals, *row_key)


TOKEN_SEALS: Final = SealedColumn("tokens", TOKENS.c.sealed, TOKENS.c.updated_at)
PROOF_SEALS: Final = SealedColumn(
    "proofs of consent", CONSENT_EVIDENCE.c.sealed_personal, CONSENT_EVIDENCE.c.recorded_at
)
CHAIN_SEALS: Final = SealedColumn(
    "ends of the chain of consent proofs", CONSENT_CHAIN.c.sealed, CONSENT_CHAIN.c.sequence
)
INVITATION_SEALS: Final = SealedColumn(
    "invitations", INVITATIONS.c.sealed_usage_point, INVITATIONS.c.created_at, is_kept=False
)
WEBHOOK_SEALS: Final = SealedColumn("webhooks", TENANTS.c.sealed_webhook, TENANTS.c.created_at)
OUTPUT_SEALS: Final = SealedColumn("outputs", OUTPUTS.c.sealed, OUTPUTS.c.created_at)
RIGHT_SEALS: Final = SealedColumn("rights of access", RIGHTS.c.sealed, RIGHTS.c.sealed_at)
DETAIL_SEALS: Final = SealedColumn("details of accounts", ACCOUNT_DETAILS.c.sealed, ACCOUNT_DETAILS.c.sealed_at)
ANSWER_SEALS: Final = SealedColumn("kept answers", RAW_ANSWERS.c.sealed, RAW_ANSWERS.c.last_at)
SAMPLE_SEALS: Final = SealedColumn(
    "samples in quarantine", QUARANTINE.c.sealed_sample, QUARANTINE.c.first_seen, is_kept=False
)
TEXT_SEALS: Final = (
    *(TOKEN_SEALS, PROOF_SEALS, CHAIN_SEALS, INVITATION_SEALS, RIGHT_SEALS, WEBHOOK_SEALS, OUTPUT_SEALS),
    DETAIL_SEALS,
)
SEALED_COLUMNS: Final = (*TEXT_SEALS, ANSWER_SEALS, SAMPLE_SEALS)


def _of_web(label: str, seals: Column[Any], *, is_kept: bool = True) -> SealedColumn:
    columns = seals.table.c
    sealed_at = columns.created_at if "created_at" in columns else columns.confirmed_at
    return SealedColumn(label, seals, sealed_at, is_kept, "RELEVE_SESSION_KEY")


WEB_SEALS: Final = (
    _of_web("households", HOUSEHOLDS.c.sealed),
    _of_web("mail addresses", MAIL_ADDRESSES.c.sealed),
    _of_web("wishes for months by mail", MAIL_ADDRESSES.c.sealed_month),
    _of_web("addresses of campaigns", CAMPAIGN_RECIPIENTS.c.sealed_address),
    _of_web("operators", OPERATORS.c.sealed),
    # A session or link that no key can unseal gives no access, so it isn't kept.
    _of_web("sessions, codes and links", ACCESS_KEYS.c.sealed, is_kept=False),
)


def rotate_seals(database: Database, sealer: Sealer, column: SealedColumn) -> int:
    """Seal all values of a column again with the first key, and return how many were sealed.

    Each page of rows is locked and changed in its own transaction, so that workers can continue and an interruption
    loses nothing. The call is safe to repeat. If no key can unseal a value and the column's ``is_kept`` is False, the
    row is deleted. If ``is_kept`` is True, the value stays as it is, and OperatorFault is raised after the last page.
    """
    done, unreadable, after = 0, 0, tuple("" for _ in column.key)
    while rows := _rotate_page(database, sealer, column, after):
        after = rows[-1][0]
        done += sum(is_readable for _, is_readable in rows)
        unreadable += sum(not is_readable for _, is_readable in rows)
    if unreadable and column.is_kept:
        raise OperatorFault(
            f"{done} {column.label} are encrypted with the first key, {unreadable} can't be read: put their old key "
            f"back into {column.setting} and rotate again"
        )
    return done


def _rotate_page(
    database: Database, sealer: Sealer, column: SealedColumn, after: tuple[str, ...]
) -> list[tuple[tuple[str, ...], bool]]:
    """Rotate the next page of rows; return each row's key, and whether its value could be unsealed."""
    key, seals = tuple_(*column.key), column.seals
    query = select(seals, *column.key).where(key > after, seals.is_not(None)).order_by(*column.key).limit(PAGE)
    page: list[tuple[tuple[str, ...], bool]] = []
    with database.writing() as connection:
        for sealed, *parts in connection.execute(query.with_for_update()).all():
            row_key = tuple(parts)
            try:
                rotated = sealer.rotate(sealed, column.place_of(*row_key))
            except OperatorFault:
                # A lost key must not prevent the rotation of the other rows.
                page.append((row_key, False))
                if not column.is_kept:
                    connection.execute(delete(seals.table).where(key == row_key))
                continue
            connection.execute(update(seals.table).where(key == row_key, seals.is_not(None)).values({seals: rotated}))
            page.append((row_key, True))
    return page
