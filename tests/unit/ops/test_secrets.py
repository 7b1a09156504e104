"""Which secrets there are, what an operator may say about them, and who is handed what."""

from __future__ import annotations

import pytest

from worker.ops.secrets import SECRETS, Addresses, Secret, SecretRefused, choose, hand_out
from worker.stores.encryption import new_key

BY_NAME = {secret.name: secret for secret in SECRETS}
FIXED = ("postgres_admin_password", "couchdb_admin_password", "grafana_password")
FREE = tuple(name for name in BY_NAME if name not in (*FIXED, "token_keys"))
OLD, NEW = "an-old-one-of-thirty-two-characters.", "a-new-one-of-thirty-two-characters.."


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.name)
def test_what_is_made_would_be_taken_from_an_operator_too(secret: Secret) -> None:
    assert secret.check(secret.make()) is None


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.name)
def test_what_is_kept_is_never_made_anew(secret: Secret) -> None:
    kept = secret.make()
    assert choose(secret, kept, None) == choose(secret, kept, "") == choose(secret, kept, kept) == kept


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "enedis_client_secret"])
def test_no_two_installations_have_the_same(name: str) -> None:
    assert choose(BY_NAME[name], None, None) != choose(BY_NAME[name], None, None)


@pytest.mark.parametrize("name", FREE)
def test_what_an_operator_gives_counts_first_and_later(name: str) -> None:
    assert choose(BY_NAME[name], None, NEW) == choose(BY_NAME[name], OLD, NEW) == NEW


@pytest.mark.parametrize("name", FIXED)
def test_what_a_server_has_written_down_is_not_changed_behind_its_back(name: str) -> None:
    assert choose(BY_NAME[name], None, NEW) == NEW
    with pytest.raises(SecretRefused, match=BY_NAME[name].variable) as refusal:
        choose(BY_NAME[name], OLD, NEW)
    assert OLD not in str(refusal.value) and NEW not in str(refusal.value)


def test_token_keys_change_by_steps_that_leave_nothing_unreadable() -> None:
    keys, old, new = BY_NAME["token_keys"], new_key(), new_key()
    assert choose(keys, old, f"{new},{old}") == f"{new},{old}"
    assert choose(keys, f"{new},{old}", new) == new
    with pytest.raises(SecretRefused, match="shares no key") as refusal:
        choose(keys, old, new)
    assert old not in str(refusal.value) and new not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_password", "short"),
        ("redis_password", "with space and more"),
        ("couchdb_password", "slash/and:colon@host"),
        ("postgres_password", "quote'quote'quote"),
        ("token_keys", "not-a-key"),
        ("session_key", "too-short"),
        ("operator_password", "motdepassé"),
        ("enedis_client_secret", "two\nlines"),
    ],
)
def test_what_can_not_be_used_is_refused_without_being_repeated(name: str, value: str) -> None:
    with pytest.raises(SecretRefused, match=BY_NAME[name].variable) as refusal:
        choose(BY_NAME[name], None, value)
    assert value not in str(refusal.value)


def test_each_reader_gets_addresses_with_its_own_password() -> None:
    values = {secret.name: f"<{secret.name}>" for secret in SECRETS}
    handed = hand_out(values, Addresses("r:1", "p:2", "c:3"))
    assert handed["beat"] == {"redis_url": "redis://:<redis_password>@r:1/0"}
    assert handed["worker"]["registry_url"] == "postgresql://releve_app:<postgres_password>@p:2/releve"
    assert handed["worker"]["measures_url"] == "couchdb+http://releve:<couchdb_password>@c:3/"
    assert handed["migrate"]["registry_admin_url"] == "postgresql://releve:<postgres_admin_password>@p:2/releve"
    assert handed["migrate"]["measures_admin_url"] == "couchdb+http://admin:<couchdb_admin_password>@c:3/"
    assert handed["redis"]["redis.conf"] == "requirepass <redis_password>\n"
