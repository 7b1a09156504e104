"""The client of a gateway to Enedis, whose answers are Enedis' own, with or without their envelope."""

from __future__ import annotations

from worker.clients.enedis.client import EnedisClient
from worker.clients.gateway.errors import interpret


class GatewayClient(EnedisClient):
    """The series of one account, asked with its token: Enedis' client, but for the meaning of refusals."""

    interpret = staticmethod(interpret)
