"""A service that several tests share is as new for each of them."""

from __future__ import annotations

from typing import Any

from tests.integration.web.test_holders import store_day
from tests.support.connect_service import ConnectService, ConnectServices
from tests.support.registries import all_rows
from worker.domain.series import Doctype, Series
from worker.logs import REDACTOR
from worker.runtime.keys import SESSION_KEY

NOBODYS = "a1b2c3d4e5f6"


def what_is_in(service: ConnectService) -> dict[str, Any]:
    """Return what is left of a test in stores, files, memory and simulator."""
    parts = service.parts
    now = parts.stores.now()
    return {
        "rows": all_rows(parts.stores.registry.database),
        "keys": list(parts.stores.redis.scan_iter("*")),
        "documents": parts.stores.measures.read(NOBODYS, {Doctype.DAY: ("2020", "2030")}),
        "ledger": parts.stores.erasure_ledger.file.path.exists(),
        "settings": parts.stores.settings,
        "page": parts.sync.suppliers.main.endpoints.authorize_url,
        "token": "application_client" in vars(parts.sync.suppliers.main),
        "supplier": service.simulate("GET", "report"),
        "due": len(parts.stores.registry.due.list_nightly(Series.DAILY, 1, now, now, 1)),
        "masked": REDACTOR.mask_text((parts.stores.settings.data_dir / SESSION_KEY).read_text()),
    }


def test_nothing_of_a_test_is_in_the_service_of_the_next(kept_services: ConnectServices) -> None:
    before = kept_services.empty("enedis-v5")
    parts, new = before.parts, what_is_in(before)
    before.connect(before.browser())
    (account,) = before.accounts()
    assert parts.sync.suppliers.client_of(account)
    store_day(before, NOBODYS)
    parts.stores.erasure_ledger.file.path.mkdir()
    parts.change_settings(public_url="https://releve.example")
    object.__setattr__(parts.sync.suppliers.main.endpoints, "authorize_url", None)
    vars(REDACTOR).update(vars(type(REDACTOR)()))  # As each test's end forgets what it has added.
    used = what_is_in(before)
    assert {name for name, found in new.items() if found == used[name]} == set()
    after = kept_services.empty("enedis-v5")
    assert after.parts is parts and what_is_in(after) == new
    assert after.connect(after.browser()).status_code == 303
