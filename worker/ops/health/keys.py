"""The keys: they are there, they open what is stored, none of old is in use, and how old they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Column, select

from worker.errors import OperatorFault
from worker.ops.health.connections import CheckConnections, missing_sqlite_file
from worker.ops.health.results import Note, fail, ok, warn
from worker.runtime.process import sealer_from, session_key_from
from worker.stores.encryption import SHORTEST_KEY, Sealer, sealed_at
from worker.stores.registry import migrations
from worker.stores.registry.tables import CONSENT_PROOFS, TOKENS

KEY_FILE: Final = "token.keys"
MOST_LOOKED_AT: Final = 2_000  # of each kind, those longest untouched first: a million would take minutes
OTHERS: Final = 0o077


def token_keys(visit: CheckConnections) -> Iterator[Note]:
    settings = visit.settings
    file = settings.data_dir / KEY_FILE
    if not settings.token_keys and not file.exists():
        yield ok(f"none yet: {file} is made at first use")
        return
    sealer = sealer_from(settings)
    where = (
        f"in RELEVE_TOKEN_KEYS: {sealer.number}" if settings.token_keys else f"in {file}: {sealer.number}, {_age(file)}"
    )
    yield from () if settings.token_keys else _private(file)
    seals = _seals(visit)
    opened = [sealed for sealed in seals if _opens(sealer, sealed)]
    if lost := len(seals) - len(opened):
        yield fail(
            f"{lost} of {len(seals)} stored tokens and proofs can't be opened: put the key they were sealed under "
            "back into RELEVE_TOKEN_KEYS, after the new one"
        )
    if old := sum(not sealer.is_newest(sealed) for sealed in opened):
        yield warn(f"{old} of {len(seals)} seals are under a key of old: `releve keys rotate`, then drop that key")
    yield ok(f"{where}; {_oldest(seals)}")


def session_key(visit: CheckConnections) -> Iterator[Note]:
    settings = visit.settings
    file = settings.data_dir / "session.key"
    if not settings.session_key and not file.exists():
        yield ok(f"none yet: {file} is made at first use")
        return
    length = len(session_key_from(settings))
    if length < SHORTEST_KEY:
        yield fail(
            f"the session key must have at least {SHORTEST_KEY} characters and has {length}: set RELEVE_SESSION_KEY"
        )
    yield from () if settings.session_key else _private(file)
    yield ok(f"{length} characters" + ("" if settings.session_key else f" in {file}, {_age(file)}"))


def _private(file: Path) -> Iterator[Note]:
    if file.stat().st_mode & OTHERS:
        yield warn(f"others may read {file}: chmod 600 it")


def _age(file: Path) -> str:
    changed = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return f"{(datetime.now(UTC) - changed).days} days old"


def _oldest(seals: list[str]) -> str:
    if not seals:
        return "nothing is sealed yet"
    oldest = min(map(sealed_at, seals))
    return f"the oldest of {len(seals)} seals looked at is {(datetime.now(UTC) - oldest).days} days old"


def _seals(visit: CheckConnections) -> list[str]:
    """None where the registry is not there yet, or has tables that we don't know: the registry's check tells."""
    if missing_sqlite_file(visit.settings.registry()):
        return []
    with visit.registry.reading() as connection:
        if migrations.current_step(connection) != migrations.newest_step():
            return []
        found: list[str] = []
        for seals, order in _PLACES:
            query = select(seals).where(seals.is_not(None)).order_by(order).limit(MOST_LOOKED_AT)
            found += connection.execute(query).scalars()
        return found


_PLACES: Final[tuple[tuple[Column[str], Column[datetime]], ...]] = (
    (TOKENS.c.sealed, TOKENS.c.updated_at),
    (CONSENT_PROOFS.c.sealed_usage_point, CONSENT_PROOFS.c.consented_at),
)


def _opens(sealer: Sealer, sealed: str) -> bool:
    try:
        sealer.unseal(sealed)
    except OperatorFault:
        return False
    return True
