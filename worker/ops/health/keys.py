"""Checks of the token keys and the session key: present, able to open what is stored, private, and how old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import select

from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, fail, ok, warn
from worker.runtime.keys import build_sealer, session_keys
from worker.stores.encryption import MIN_KEY_LENGTH, read_sealing_time
from worker.stores.registry.seals import TEXT_SEALS

KEY_FILE: Final = "token.keys"
MAX_SEALS_CHECKED: Final = 2_000  # Of each kind, the longest unchanged first; a million would take minutes.
OTHERS: Final = 0o077  # The rights of all users but the owner.


def check_token_keys(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that the keys open the stored tokens and evidence, and that no old key is in use."""
    settings = connections.settings
    file = settings.data_dir / KEY_FILE
    if not settings.token_keys and not file.exists():
        yield ok(f"none yet: {file} is made at first use")
        return
    sealer = build_sealer(settings)
    count = sealer.key_count
    where = f"in RELEVE_TOKEN_KEYS: {count}" if settings.token_keys else f"in {file}: {count}, {_age(file)}"
    yield from () if settings.token_keys else _check_private(file)
    seals = _read_seals(connections)
    readable = [seal for seal in seals if sealer.can_unseal(seal)]
    if lost := len(seals) - len(readable):
        yield fail(
            f"{lost} of {len(seals)} stored tokens and proofs can't be opened: put the key they were sealed under "
            "back into RELEVE_TOKEN_KEYS, after the new one"
        )
    if old := sum(not sealer.is_newest(seal) for seal in readable):
        yield warn(f"{old} of {len(seals)} seals are under a key of old: `releve keys rotate`, then drop that key")
    yield ok(f"{where}; {_describe_oldest(seals)}")


def check_session_key(connections: CheckConnections) -> Iterator[CheckNote]:
    settings = connections.settings
    file = settings.data_dir / "session.key"
    if not settings.session_key and not file.exists():
        yield ok(f"none yet: {file} is made at first use")
        return
    length = min(map(len, session_keys(settings)), default=0)
    if length < MIN_KEY_LENGTH:
        yield fail(
            f"a session key must have at least {MIN_KEY_LENGTH} characters and has {length}: set RELEVE_SESSION_KEY"
        )
    yield from () if settings.session_key else _check_private(file)
    yield ok(f"{length} characters" + ("" if settings.session_key else f" in {file}, {_age(file)}"))


def _check_private(file: Path) -> Iterator[CheckNote]:
    if file.stat().st_mode & OTHERS:
        yield warn(f"others may read {file}: chmod 600 it")


def _age(file: Path) -> str:
    changed = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return f"{(datetime.now(UTC) - changed).days} days old"


def _describe_oldest(seals: list[str]) -> str:
    if not seals:
        return "nothing is sealed yet"
    oldest = min(map(read_sealing_time, seals))
    return f"the oldest of {len(seals)} seals looked at is {(datetime.now(UTC) - oldest).days} days old"


def _read_seals(connections: CheckConnections) -> list[str]:
    """Return the sealed tokens and proofs of the registry."""
    seals: list[str] = []
    if not connections.registry_is_current:
        return seals
    with connections.registry.reading() as connection:
        for column in TEXT_SEALS:
            query = select(column.seals).where(column.seals.is_not(None)).order_by(column.sealed_at)
            seals += connection.execute(query.limit(MAX_SEALS_CHECKED)).scalars()
    return seals
