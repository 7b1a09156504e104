"""The people behind the accounts, where the supplier wants a token of each (v4): they consent, and again when asked."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlsplit

import requests

from worker.accounts.connect import connect, consent_page
from worker.clients.enedis.consent import read_callback
from worker.errors import SupplierUnavailable
from worker.runtime import Runtime

_CALLBACK: Final = "http://127.0.0.1:9/back"  # nobody listens: where it leads to is all that is read
_TIMEOUT_S: Final = 10.0


def give_consent(runtime: Runtime, usage_point: str) -> str:
    """Over the supplier's page and back, as the web service does it; the account's id.

    A meter that is known keeps its account, and what it waited for its owner for is over.  Raises TransientError
    where the supplier or a store is away just now.
    """
    picked = {"usage_point_id": usage_point, "redirect_uri": _CALLBACK}
    try:
        page = requests.get(consent_page(runtime, "drill"), picked, allow_redirects=False, timeout=_TIMEOUT_S)
    except requests.RequestException as error:
        raise SupplierUnavailable(f"the consent page does not answer ({type(error).__name__})") from error
    callback = read_callback(parse_qsl(urlsplit(page.headers.get("location", "")).query))
    if callback.failure:
        raise SupplierUnavailable(f"the consent page ended in {callback.failure}")
    return connect(runtime, callback).accounts[0].id
