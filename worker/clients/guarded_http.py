"""HTTP calls to addresses that somebody has typed: never into a private network that the operator has not named.

What counts is the address that the connection has reached, looked at before anything is sent, so that no name can hide
another one. Plain http is for this machine and for the networks that are named.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from worker.clients.bounded_http import BoundedHttp, HttpConnection, HttpPool, HttpsConnection, HttpsPool
from worker.clients.guarded_socket import check_peer
from worker.domain.networks import Network


class GuardedHttp(BoundedHttp):
    """An adapter that calls public addresses over https, this machine, and the networks that the operator names.

    Raises AddressRefused before anything is sent to another address.
    """

    def __init__(self, networks: Sequence[Network] = (), **bounds: Any) -> None:
        self._networks = tuple(networks)
        super().__init__(**bounds)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        networks = self._networks

        class GuardedConnection(HttpConnection):
            def _new_conn(self) -> socket.socket:
                return check_peer(super()._new_conn(), self.host, networks, is_plain=True)

        class GuardedTlsConnection(HttpsConnection):
            def _new_conn(self) -> socket.socket:  # Before the greeting of TLS.
                return check_peer(super()._new_conn(), self.host, networks, is_plain=False)

        class GuardedPool(HttpPool):
            ConnectionCls = GuardedConnection

        class GuardedTlsPool(HttpsPool):
            ConnectionCls = GuardedTlsConnection

        self.poolmanager.pool_classes_by_scheme = {"http": GuardedPool, "https": GuardedTlsPool}
