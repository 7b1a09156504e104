"""The change of a key by `releve secrets`, as an operator does it: nobody is signed out, and nothing is lost."""

from __future__ import annotations

from sqlalchemy import select

from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.parts import Parts
from tests.support.registries import METER
from worker.domain.sessions import KeyKind
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat
from worker.stores.registry.tables import ACCESS_KEYS

SESSION = KeyKind.HOUSEHOLD_SESSION


def sees_home(parts: Parts, text: str, form: str) -> bool:
    """Return whether a browser with this cookie sees the account of its household, and its form is taken."""
    access = parts.access
    key = access.keys.find(SESSION, text)
    household = access.households.load(key.owner) if key else None
    return bool(key and household and household.accounts and access.signer.is_valid_csrf_token(key.id, form))


def test_households_stay_signed_in_while_the_session_key_is_replaced(installation: Installation) -> None:
    old, new = (installation.releve("secrets", "add", "--key").out.strip() for _ in range(2))
    assert old != new
    with installation.open(session_key=old) as parts:
        account, _ = parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)
        household = parts.access.households.create({account.id: account.session_number})
        key, text = parts.access.keys.create(SESSION, household.id)
        form = parts.access.signer.csrf_token(key.id)
    both = f"{new},{old}"
    with installation.open(session_key=both) as parts:
        assert sees_home(parts, text, form)
        newer_form = parts.access.signer.csrf_token(key.id)
    rotated = installation.releve("secrets", "rotate", session_key=both).out
    assert "1 households encrypted again" in rotated and "1 sessions, codes and links encrypted again" in rotated
    with installation.open(session_key=new) as parts:
        assert sees_home(parts, text, newer_form)
        assert not parts.access.signer.is_valid_csrf_token(key.id, form), "a form of the old key loads again"
    with installation.open(session_key=old) as parts:
        assert not sees_home(parts, text, form)


def test_where_there_is_no_session_key_the_rotation_leaves_what_is_under_it_and_says_so(
    installation: Installation,
) -> None:
    with installation.open(session_key=installation.releve("secrets", "add", "--key").out.strip()) as parts:
        parts.access.keys.create(SESSION, "owner")
        before = parts.stores.registry.database.fetch(select(ACCESS_KEYS))
    told = installation.releve("secrets", "rotate").out
    assert "0 tokens encrypted again" in told
    assert (
        "sessions, codes, mail addresses and operators were not changed, because RELEVE_SESSION_KEY is not set" in told
    )
    assert not (installation.folder / "session.key").exists()
    with installation.open() as parts:
        assert parts.stores.registry.database.fetch(select(ACCESS_KEYS)) == before


def test_doctor_and_rotation_name_workers_that_may_still_seal_with_an_old_key(installation: Installation) -> None:
    old, new = (installation.releve("secrets", "add", "--key").out.strip() for _ in range(2))
    with installation.open(token_keys=old) as before, installation.open(token_keys=f"{new},{old}") as parts:
        heartbeats = Heartbeats(parts.stores.redis)
        fingerprints = {"old": before.stores.keys.registry.fingerprint, "new": parts.stores.keys.registry.fingerprint}
        for name, fingerprint in {**fingerprints, "former": ""}.items():
            now = heartbeats.now()
            heartbeats.record_worker(f"{name}-1", WorkerHeartbeat(f"nightly@{name}", now, now), fingerprint)

    def doctor(key: str) -> str:
        rows = installation.run("doctor", "--json", token_keys=key).rows
        return next(str(row["told"]) for row in rows if row["check"] == "workers")

    assert "not the same here as for nightly@old: restart" in doctor(f"{new},{old}")
    assert "not the same here as for nightly@new: restart" in doctor(old)
    told = installation.releve("secrets", "rotate", token_keys=f"{new},{old}").out
    assert "nightly@old still encrypts with another key: keep the old key, restart the worker" in told
    assert "nightly@former does not say with which key" in told and "nightly@new" not in told
    away = installation.releve("secrets", "rotate", token_keys=f"{new},{old}", redis_url="redis://127.0.0.1:9/0").out
    assert "0 tokens encrypted again" in away and "is not known: " in away
