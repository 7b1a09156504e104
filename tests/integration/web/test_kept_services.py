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
    runtime = service.runtime
    now = runtime.now()
    return {
        "rows": all_rows(runtime.registry.database),
        "keys": list(runtime.redis.scan_iter("*")),
        "documents": runtime.measures.read(NOBODYS, {Doctype.DAY: ("2020", "2030")}),
        "ledger": runtime.ledger_file.path.exists(),
        "settings": runtime.settings,
        "page": runtime.endpoints.authorize_url,
        "token": "application_client" in vars(runtime.clients),
        "supplier": service.simulate("GET", "report"),
        "due": len(runtime.registry.due.list_nightly(Series.DAILY, 1, now, now, 1)),
        "masked": REDACTOR.mask_text((runtime.settings.data_dir / SESSION_KEY).read_text()),
    }


def test_nothing_of_a_test_is_in_the_service_of_the_next(kept_services: ConnectServices) -> None:
    before = kept_services.empty("enedis-v5")
    runtime, new = before.runtime, what_is_in(before)
    before.connect(before.browser())
    (account,) = before.accounts()
    assert runtime.client_of(account)
    store_day(before, NOBODYS)
    runtime.ledger_file.path.mkdir()
    runtime.settings = runtime.settings.model_copy(update={"public_url": "https://releve.example"})
    object.__setattr__(runtime.endpoints, "authorize_url", None)
    vars(REDACTOR).update(vars(type(REDACTOR)()))  # As each test's end forgets what it has added.
    used = what_is_in(before)
    assert {name for name, found in new.items() if found == used[name]} == set()
    after = kept_services.empty("enedis-v5")
    assert after.runtime is runtime and what_is_in(after) == new
    assert after.connect(after.browser()).status_code == 303
