"""Checks of the token keys and the session key: present, able to open what is stored, private, and how old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import select

from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, fail, ok, warn
from worker.runtime.keys import SESSION_KEY, TOKEN_KEYS, build_sealer, has_session_keys, session_keys
from worker.stores.encryption import Purpose, check_keys, read_sealing_time
from worker.stores.registry.key_rotation import TEXT_SEALS, count_old_form

MAX_SEALS_CHECKED: Final = 2_000  # Of each kind, the longest unchanged first; a million would take minutes.
OTHERS: Final = 0o077  # The rights of all users but the owner.


def check_token_keys(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that the keys open the stored tokens and evidence, and that no old key is in use."""
    settings = connections.settings
    file = settings.data_dir / TOKEN_KEYS
    if not settings.token_keys and not file.exists():
        yield ok(f"none yet: {file} is created at first use")
        return
    sealer = build_sealer(settings, Purpose.REGISTRY)
    count = sealer.key_count
    where = f"in RELEVE_TOKEN_KEYS: {count}" if settings.token_keys else f"in {file}: {count}, {_age(file)}"
    yield from () if settings.token_keys else _check_private(file)
    seals = _read_seals(connections)
    readable = [(seal, place) for seal, place in seals if sealer.can_unseal(seal, place)]
    if lost := len(seals) - len(readable):
        yield fail(
            f"{lost} of {len(seals)} stored tokens and proofs can't be decrypted: put their old key back into "
            "RELEVE_TOKEN_KEYS, after the new one"
        )
    if old := sum(not sealer.is_newest(seal, place) for seal, place in readable):
        yield warn(
            f"{old} of {len(seals)} stored texts are encrypted with an old key: run `releve keys rotate`, then "
            "remove that key"
        )
    if connections.registry_is_current and (unbound := count_old_form(connections.registry)):
        yield warn(
            f"{unbound} stored texts have the encryption of older versions, which is not bound to their rows: add a "
            "new key, run `releve keys rotate`, then remove the old key"
        )
    yield ok(f"{where}; {_describe_oldest([seal for seal, _ in seals])}")


def check_session_key(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check the key of the web application where it is at hand; no other service has it."""
    settings = connections.settings
    file = settings.data_dir / SESSION_KEY
    if not has_session_keys(settings):
        yield ok(f"none here: the web application has it, or creates {file} at first use")
        return
    keys = session_keys(settings)
    try:
        check_keys(keys)
    except ValueError as error:
        yield fail(f"RELEVE_SESSION_KEY: {error}")
    yield from () if settings.session_key else _check_private(file)
    where = "in RELEVE_SESSION_KEY" if settings.session_key else f"in {file}, {_age(file)}"
    rotating = "" if len(keys) == 1 else f": {len(keys)}; remove the old ones after `releve keys rotate`"
    yield ok(f"{where}{rotating}")


def _check_private(file: Path) -> Iterator[CheckNote]:
    if file.stat().st_mode & OTHERS:
        yield warn(f"other users can read {file}: run `chmod 600` on it")


def _age(file: Path) -> str:
    changed = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return f"{(datetime.now(UTC) - changed).days} days old"


def _describe_oldest(seals: list[str]) -> str:
    if not seals:
        return "nothing is encrypted yet"
    oldest = min(map(read_sealing_time, seals))
    return f"the oldest of {len(seals)} checked texts was encrypted {(datetime.now(UTC) - oldest).days} days ago"


def _read_seals(connections: CheckConnections) -> list[tuple[str, str]]:
    """Return the sealed tokens and proofs of the registry, each with its place."""
    seals: list[tuple[str, str]] = []
    if not connections.registry_is_current:
        return seals
    with connections.registry.reading() as connection:
        for column in TEXT_SEALS:
            query = select(column.seals, column.key).where(column.seals.is_not(None)).order_by(column.sealed_at)
            rows = connection.execute(query.limit(MAX_SEALS_CHECKED)).all()
            seals += [(seal, column.place_of(row_key)) for seal, row_key in rows]
    return seals
