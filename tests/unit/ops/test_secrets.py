"""Secrets: what an operator may set, what is generated, and what each service gets."""

from __future__ import annotations

import pytest

from config.settings import ConfigError
from worker.ops.installation_secrets import SECRETS, Addresses, Secret, choose_value, files_for_services
from worker.stores.encryption import generate_key

BY_NAME = {secret.name: secret for secret in SECRETS}
FIXED = ("postgres_admin_password", "couchdb_admin_password", "grafana_password")
STEPWISE = ("token_keys", "backup_keys", "erasure_keys")
OPTIONAL = ("rte_client_secret", "webhook_secret", "notify_url", "influxdb_password")
FREE = tuple(name for name in BY_NAME if name not in (*FIXED, *STEPWISE, "notify_url"))
NEVER_NEW = ("enedis_client_secret", "grdf_client_secret", *OPTIONAL)
OLD, NEW = "an-old-one-of-thirty-two-characters.", "a-new-one-of-thirty-two-characters.."


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.name)
def test_what_is_made_would_be_taken_from_an_operator_too(secret: Secret) -> None:
    made = secret.make()
    assert secret.check(made) is None if made else secret.optional


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.name)
def test_what_is_kept_is_never_made_anew(secret: Secret) -> None:
    stored = secret.make() or OLD
    given = (None, stored) if secret.name in OPTIONAL else (None, "", stored)
    assert all(choose_value(secret, stored, value) == stored for value in given)


@pytest.mark.parametrize("name", OPTIONAL)
def test_l13_nothing_takes_the_place_of_what_may_be_missing_and_an_emptied_variable_takes_it_away(name: str) -> None:
    assert choose_value(BY_NAME[name], None, None) == choose_value(BY_NAME[name], None, "") == ""
    assert choose_value(BY_NAME[name], OLD, "") == ""


def test_l13_addresses_of_messages_with_passwords_are_secrets() -> None:
    urls = "mailtos://u:password@mail.example.org?from=a@example.org&to=b@example.org ntfys://ntfy.example.org/topic"
    assert choose_value(BY_NAME["notify_url"], None, urls) == urls


@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in NEVER_NEW])
def test_no_two_installations_have_the_same(name: str) -> None:
    assert choose_value(BY_NAME[name], None, None) != choose_value(BY_NAME[name], None, None)


@pytest.mark.parametrize("name", FREE)
def test_what_an_operator_gives_counts_first_and_later(name: str) -> None:
    assert choose_value(BY_NAME[name], None, NEW) == choose_value(BY_NAME[name], OLD, NEW) == NEW


@pytest.mark.parametrize("name", FIXED)
def test_what_a_server_has_written_down_is_not_changed_behind_its_back(name: str) -> None:
    assert choose_value(BY_NAME[name], None, NEW) == NEW
    with pytest.raises(ConfigError, match=BY_NAME[name].variable) as refusal:
        choose_value(BY_NAME[name], OLD, NEW)
    assert OLD not in str(refusal.value) and NEW not in str(refusal.value)


@pytest.mark.parametrize("name", STEPWISE)
def test_keys_change_by_steps_that_leave_nothing_unreadable(name: str) -> None:
    keys, old, new = BY_NAME[name], generate_key(), generate_key()
    assert choose_value(keys, old, f"{new},{old}") == f"{new},{old}"
    assert choose_value(keys, f"{new},{old}", new) == new
    with pytest.raises(ConfigError, match="lacks the keys in use") as refusal:
        choose_value(keys, old, new)
    assert old not in str(refusal.value) and new not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_password", "short"),
        ("redis_password", "with space and more"),
        ("couchdb_password", "slash/and:colon@host"),
        ("postgres_password", "quote'quote'quote"),
        ("token_keys", "not-a-key"),
        ("backup_keys", "not-a-key"),
        ("erasure_keys", "too-short"),
        ("session_key", "too-short"),
        ("flower_password", "motdepassé"),
        ("enedis_client_secret", "two\nlines"),
        ("webhook_secret", "too-short"),
        ("notify_url", "nothing://known@here"),
    ],
)
def test_what_can_not_be_used_is_refused_without_being_repeated(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=BY_NAME[name].variable) as refusal:
        choose_value(BY_NAME[name], None, value)
    assert value not in str(refusal.value)


def test_each_reader_gets_addresses_with_its_own_password() -> None:
    values = {secret.name: f"<{secret.name}>" for secret in SECRETS}
    contents = files_for_services(values, Addresses("r:1", "p:2", "c:3"))
    assert contents["beat"] == {"redis_url": "redis://beat:<redis_beat_password>@r:1/0"}
    assert contents["worker"]["redis_url"] == contents["backup"]["redis_url"] == "redis://worker:<redis_password>@r:1/0"
    for user in ("web", "flower", "metrics"):
        assert contents[user]["redis_url"] == f"redis://{user}:<redis_{user}_password>@r:1/0"
    assert contents["worker"]["registry_url"] == "postgresql://releve_app:<postgres_password>@p:2/releve"
    assert contents["worker"]["measures_url"] == "couchdb+http://releve:<couchdb_password>@c:3/"
    assert contents["migrate"]["registry_admin_url"] == "postgresql://releve:<postgres_admin_password>@p:2/releve"
    assert contents["migrate"]["measures_admin_url"] == "couchdb+http://admin:<couchdb_admin_password>@c:3/"
    assert [name for name, files in contents.items() if "rte_client_secret" in files] == ["worker"]
    assert contents["redis"]["health_password"] == "<redis_health_password>"
    assert contents["redis"]["redis.conf"].startswith("user default off ")
