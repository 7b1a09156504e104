"""The name of a meter: where it is kept, when it ends, and which outputs are told of a change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.support.factories import NOW
from tests.support.registries import add_ready, all_rows, new_registry, registry_keys
from worker.accounts.meter_names import load_name, load_names, load_shown_name, save_name
from worker.domain.account import DEFAULT_TENANT
from worker.outputs.kinds import KINDS
from worker.stores.registry import Registry
from worker.stores.registry.outputs import BEGINNING, OutboxTable

NAME = "Chalet de l’été"
SHOWN = {"home-assistant", "mqtt"}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with new_registry(tmp_path) as made:
        yield made


def save(registry: Registry, account_id: str, text: str) -> None:
    save_name(registry, registry.accounts.get_existing(account_id), text)


def add_outputs(registry: Registry, tenant: str = DEFAULT_TENANT, account_id: str | None = None) -> dict[str, str]:
    """Add an output of each kind; return the kinds by the outputs' ids."""
    return {registry.outputs.insert(kind, {}, NOW, tenant=tenant, account_id=account_id): kind for kind in KINDS}


def told(registry: Registry, outputs: dict[str, str]) -> set[str]:
    """Return the kinds of the outputs that send everything again, and forget it."""
    kinds = set()
    for output_id, kind in outputs.items():
        changes = registry.outbox.next_changes(output_id)
        assert all(change.first <= BEGINNING for change in changes)
        registry.outbox.delete_sent(changes)
        kinds |= {kind} if changes else set()
    return kinds


def test_a_name_is_kept_sealed_until_it_is_removed(registry: Registry) -> None:
    first, second = (add_ready(registry, f"3000164000001{number}") for number in range(2))
    save(registry, first, f"  {NAME} ")
    assert (load_name(registry, first), load_name(registry, second)) == (NAME, "")
    assert load_names(registry, [first, second, "unknown"]) == {first: NAME}
    assert not any("Chalet" in str(row) for rows in all_rows(registry.database).values() for row in rows)
    save(registry, second, "Maison")
    assert load_names(registry, [second]) == {second: "Maison"}
    with pytest.raises(ValueError, match="at most 40"):
        save(registry, first, "x" * 41)
    assert load_name(registry, first) == NAME
    save(registry, first, " ")
    assert load_names(registry, [first, second]) == {second: "Maison"}


def test_a_name_that_cannot_be_decrypted_counts_as_none(registry: Registry) -> None:
    account = add_ready(registry)
    save(registry, account, NAME)
    other_key = Registry(registry.database, registry_keys(Fernet.generate_key().decode()))
    assert load_name(other_key, account) == ""


def test_only_a_change_is_told_and_only_to_outputs_that_show_names(registry: Registry) -> None:
    account, other = (add_ready(registry, f"3000164000001{number}") for number in range(2))
    outputs, own, others = (add_outputs(registry, account_id=one) for one in (None, account, other))
    for text, kinds in ((NAME, SHOWN), (f"{NAME} ", set()), ("Maison", SHOWN), ("", SHOWN), ("", set())):
        save(registry, account, text)
        assert (told(registry, outputs), told(registry, own), told(registry, others)) == (kinds, kinds, set())
    save(registry, account, NAME)
    shown = {kind: load_shown_name(registry, registry.outputs.get(one), account) for one, kind in outputs.items()}
    assert shown == {kind: NAME if kind in SHOWN else "" for kind in KINDS}


def test_outputs_of_a_tenant_are_neither_told_nor_shown_a_name(registry: Registry) -> None:
    registry.tenants.save("club", "Club")
    account, _ = registry.accounts.add("enedis", "30001640000011", NOW, token_needed=False, tenant="club")
    outputs = add_outputs(registry, "club") | add_outputs(registry, account_id=account.id)
    save(registry, account.id, NAME)
    assert told(registry, outputs) == set()
    assert {load_shown_name(registry, registry.outputs.get(one), account.id) for one in outputs} == {""}
    assert load_name(registry, account.id) == NAME


def test_the_note_and_the_change_are_one(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the process ends")

    account = add_ready(registry)
    save(registry, account, NAME)
    monkeypatch.setattr(OutboxTable, "enqueue_energy", fail)
    for text in ("Maison", ""):
        with suppress(RuntimeError):
            save(registry, account, text)
        assert load_name(registry, account) == NAME
