"""The client of a gateway to Enedis. The calls are those of Enedis; answers come from Enedis or the gateway itself.

    passed on    {"status": 403, "message": "The Enedis API returned an error", "error": {"error": "ADAM-DC-0008", …}}
    its own      {"status": 401, "message": "Votre token est invalide ou ne permet pas d'accéder à ce PRM"}
                 {"status": 400, "message": "Paramètres invalides", "error": …}
                 {"status": 500, "message": "Erreur inconnue. Réessayez plus tard"}
    banned       403 with a page of the network in front of the gateway (Cloudflare)

Answers from Enedis come with or without the gateway's envelope. Source: conso-api's code in November 2026
(bokub/conso-api), and answers in the issues of ha-linky and conso-api.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Final

from worker import errors
from worker.clients.enedis import client as enedis
from worker.clients.enedis.client import EnedisClient
from worker.clients.supplier_session import Reply, wait_of
from worker.domain.answers import Answer, Deviation
from worker.domain.retry import retry_after_s

# The gateway doesn't say how long to wait, and further calls would keep our address banned.
_BANNED_FOR_S: Final = 24 * 3600.0
# While a gateway is down, we wait longer than we do for Enedis. Retries every few seconds would use up the few calls
# that the gateway allows.
_UNWELL_FOR_S: Final = 3600.0
_KEYS_OF_ENEDIS: Final = {"error", "fault", "code"}
_INVALID_PARAMETERS: Final = "Paramètres invalides"


def interpret(reply: Reply, end: date | None, now: datetime, report: Callable[[Deviation], object]) -> Answer:
    """Return what the reply to a request for the days before ``end`` means.

    A reply that the gateway passes on from Enedis is read as if Enedis had sent it. Raises GatewayBanned and the errors
    of ``enedis.client.interpret``, but SupplierFault instead of ApplicationRefused: Enedis then refuses the gateway's
    application, not ours. The session handles a refused token.
    """
    if reply.status == 403 and reply.json is None:
        raise errors.GatewayBanned("the gateway blocks this address (403): no calls for a day", _BANNED_FOR_S)
    try:
        if reply.status >= 400 and not _is_passed_on(reply):
            return _classify_own(reply, now)
        return enedis.interpret(reply, end, now, report)
    except errors.ApplicationRefused:
        # "from None", because the original error's text would send the reader to check credentials that are the
        # gateway's.
        text = f"Enedis refuses the gateway itself ({reply.code or reply.meant_status})"
        raise errors.SupplierFault(text, _UNWELL_FOR_S) from None
    except errors.SupplierUnavailable as error:
        error.retry_after_s = max(error.retry_after_s or 0.0, _UNWELL_FOR_S)
        raise


def _is_passed_on(reply: Reply) -> bool:
    """Return whether an error comes from Enedis itself, with or without the gateway's envelope."""
    body = reply.json if isinstance(reply.json, dict) else {}
    return bool(_KEYS_OF_ENEDIS & body.keys()) and body.get("message") != _INVALID_PARAMETERS


def _classify_own(reply: Reply, now: datetime) -> Answer:
    status = reply.status
    if status == 429:
        raise errors.SupplierLimited("the gateway: too many calls (429)", wait_of(reply, now))
    if status >= 500:
        raise errors.SupplierFault(f"the gateway: status {status}", retry_after_s(reply.headers, now))
    if reply.json is None:
        raise errors.AnswerNotJson(f"the gateway: status {status}, not JSON", retry_after_s(reply.headers, now))
    raise errors.RequestRefused(f"the gateway refuses the request with {status}")


class GatewayClient(EnedisClient):
    """Enedis' client with the gateway token of one account; only the meaning of refusals is different."""

    interpret = staticmethod(interpret)
