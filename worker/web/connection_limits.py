"""Limits of the connections to the web server: how many, and how long each may take for what it sends.

``ConnectionRegister`` admits connections and, once a second, cuts those that are overdue. One sweep over at most a
thousand connections takes the place of a timer for each. All its methods are called by the event loop.
"""

from __future__ import annotations

import logging
import resource
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from worker.logs import fields
from worker.web.addresses import network_of

log = logging.getLogger("releve.web")
_LOG_EVERY_S: Final = 60.0
# Beside the connections: those that wait to be accepted, and what the process has open itself.
_OTHER_DESCRIPTORS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What one process holds. Addresses of IPv6 count by their /64.

    ``body_rate``: bytes a second, which a body that takes longer than ``body_s`` must have. ``rest_s`` and
    ``rest_bytes``: for a body that goes on after its answer. ``stalled_s``: for an answer of which nothing is taken.
    """

    connections: int = 1000
    of_address: int = 50
    waiting: int = 512
    head_s: float = 10
    body_s: float = 30
    body_rate: int = 1000
    rest_s: float = 5
    rest_bytes: int = 64 * 1024
    stalled_s: float = 30


def fit_descriptors(limits: ConnectionLimits) -> ConnectionLimits:
    """Raise this process's limit of open files where it must and may, and return the connections that fit into it.

    Without a free descriptor the event loop can't accept, and logs a traceback for each try.
    """
    wanted = limits.connections + limits.waiting + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return limits if soft >= wanted else replace(limits, connections=soft // 2, waiting=soft // 4)


class PhaseKind(StrEnum):
    """What a connection does: sends a head, a body or the rest of one that was answered; or takes an answer."""

    HEAD = "head"
    BODY = "body"
    REST = "rest"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase that must end; another one of the same kind has another ``mark``."""

    kind: PhaseKind
    mark: Hashable


class LimitedConnection(ABC):
    """A connection as the register sees it. ``peer``: its address. ``received``: how much of the present body came."""

    peer: str
    received: int

    @abstractmethod
    def phase(self) -> Phase | None:
        """Return what must end; None while the application works on an answer, or its reader takes it."""

    @abstractmethod
    def cut(self) -> None:
        """Close the connection at once."""


class ConnectionRegister:
    """The open connections of one server.

    ``is_proxy``: whether an address is a reverse proxy's. It brings everybody's requests, so only ``connections`` holds
    for it, and the proxy limits its own clients.
    """

    def __init__(self, limits: ConnectionLimits, is_proxy: Callable[[str], bool]) -> None:
        self.limits, self._is_proxy = limits, is_proxy
        self._phases: dict[LimitedConnection, tuple[Phase | None, float]] = {}
        self._of_address: Counter[str] = Counter()
        self._incidents: Counter[str] = Counter()
        self._next_line_at = 0.0

    def __len__(self) -> int:
        return len(self._phases)

    def enter(self, connection: LimitedConnection, now: float) -> bool:
        """Admit a connection, or return False where there are too many."""
        address = network_of(connection.peer)
        if len(self._phases) >= self.limits.connections:
            self._incidents["refused"] += 1
            return False
        if self._of_address[address] >= self.limits.of_address and not self._is_proxy(connection.peer):
            self._incidents["refused_of_address"] += 1
            return False
        self._of_address[address] += 1
        self._phases[connection] = None, now
        return True

    def leave(self, connection: LimitedConnection) -> bool:
        """Forget a connection that is closed; return False for one that was not admitted."""
        if self._phases.pop(connection, None) is None:
            return False
        address = network_of(connection.peer)
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]
        return True

    def sweep(self, now: float) -> None:
        """Cut each connection whose phase takes too long, and log what happened since the last line."""
        for connection, (known, since) in list(self._phases.items()):
            phase = connection.phase()
            if phase is None or (known is not None and phase != known):
                self._phases[connection] = phase, now
            elif now - since > self._longest_s(phase.kind, connection.received):
                self._incidents["cut"] += 1
                connection.cut()
            else:
                self._phases[connection] = phase, since
        if self._incidents and now >= self._next_line_at:
            log.warning("connections cut or refused", extra=fields(**self._incidents, open=len(self)))
            self._incidents.clear()
            self._next_line_at = now + _LOG_EVERY_S

    def _longest_s(self, kind: PhaseKind, received: int) -> float:
        match kind:
            case PhaseKind.HEAD:
                return self.limits.head_s
            case PhaseKind.BODY:
                return max(self.limits.body_s, received / self.limits.body_rate)
            case PhaseKind.REST:
                return self.limits.rest_s
            case PhaseKind.ANSWER:
                return self.limits.stalled_s
