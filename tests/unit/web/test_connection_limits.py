"""M8: connections have limits by number and time. The clock is the test's own."""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass, field

import pytest

from worker.web.server import ConnectionLimits, ConnectionRegister, LimitedConnection, Phase, PhaseKind, fit_descriptors

LIMITS = ConnectionLimits(connections=5, of_address=2)


@dataclass(eq=False)
class FakeConnection(LimitedConnection):
    """A connection in a phase that the test sets."""

    peer: str = "192.0.2.1"
    now: Phase | None = field(default_factory=lambda: Phase(PhaseKind.HEAD, 0))
    received: int = 0
    is_cut: bool = False

    def phase(self) -> Phase | None:
        return self.now

    def cut(self) -> None:
        self.is_cut = True


def register(limits: ConnectionLimits = LIMITS, *proxies: str) -> ConnectionRegister:
    return ConnectionRegister(limits, lambda peer: peer in proxies)


def peers(connections: ConnectionRegister, *addresses: str) -> list[bool]:
    return [connections.enter(FakeConnection(address), 0) for address in addresses]


def test_m8_an_address_has_so_many_and_the_process_so_many() -> None:
    connections = register()
    assert peers(connections, "192.0.2.1", "192.0.2.1", "192.0.2.1") == [True, True, False]
    assert peers(connections, "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5") == [True, True, True, False]
    assert len(connections) == 5


def test_m8_all_addresses_of_an_ipv6_network_count_as_one() -> None:
    connections = register()
    assert peers(connections, "2001:db8::1", "2001:db8::2:0:0:1", "2001:db8::ffff") == [True, True, False]
    assert peers(connections, "2001:db8:0:1::1") == [True]
    assert peers(register(), "::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1") == [True, True, False]


def test_a_trusted_proxy_brings_everybody_so_only_the_process_limits_it() -> None:
    connections = register(LIMITS, "192.0.2.1")
    assert peers(connections, *["192.0.2.1"] * 6) == [True] * 5 + [False]


def test_who_leaves_makes_room_and_who_was_refused_takes_none() -> None:
    connections = register()
    inside, _ = FakeConnection(), peers(connections, "192.0.2.1")
    assert connections.enter(inside, 0)
    refused = FakeConnection()
    assert not connections.enter(refused, 0) and not connections.leave(refused)
    assert connections.leave(inside) and not connections.leave(inside)
    assert peers(connections, "192.0.2.1", "192.0.2.1") == [True, False]


@pytest.mark.parametrize(
    ("kind", "longest"),
    [(PhaseKind.HEAD, 10), (PhaseKind.BODY, 30), (PhaseKind.REST, 5), (PhaseKind.ANSWER, 30)],
)
def test_m8_a_phase_that_takes_too_long_ends_the_connection(kind: PhaseKind, longest: int) -> None:
    connections, connection = register(), FakeConnection(now=Phase(kind, 0))
    assert connections.enter(connection, 100)
    for second in range(longest + 1):
        connections.sweep(100 + second)
        assert not connection.is_cut
    connections.sweep(100 + longest + 1)
    assert connection.is_cut


def test_m8_a_body_may_take_longer_at_a_kilobyte_a_second() -> None:
    connections = register()
    fast, slow = (FakeConnection(now=Phase(PhaseKind.BODY, 0)) for _ in range(2))
    assert connections.enter(fast, 0) and connections.enter(slow, 0)
    for second in range(1, 120):
        fast.received, slow.received = second * 1100, second * 900
        connections.sweep(second)
    assert slow.is_cut and not fast.is_cut


def test_a_body_that_is_dropped_may_take_longer_at_fifty_kilobytes_a_second() -> None:
    connections = register()
    fast, slow = (FakeConnection(now=Phase(PhaseKind.REST, 0)) for _ in range(2))
    assert connections.enter(fast, 0) and connections.enter(slow, 0)
    for second in range(1, 60):
        fast.received, slow.received = second * 51_000, second * 45_000
        connections.sweep(second)
    assert slow.is_cut and not fast.is_cut


def test_a_new_phase_has_its_own_time_and_work_of_ours_has_none() -> None:
    connections, connection = register(), FakeConnection()
    assert connections.enter(connection, 0)
    for number in range(20):
        connection.now = Phase(PhaseKind.HEAD, number)
        connections.sweep(number * 9)
    connection.now = None
    connections.sweep(1000)
    connections.sweep(5000)
    connection.now = Phase(PhaseKind.HEAD, "next")
    connections.sweep(5009)
    assert not connection.is_cut
    connections.sweep(5020)
    assert connection.is_cut


def test_m8_what_was_refused_and_cut_is_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    connections = register()
    with caplog.at_level(logging.INFO, "releve.web"):
        for second in range(119):
            peers(connections, *["192.0.2.1"] * 3, *["192.0.2.2"] * 3, *["192.0.2.3"] * 2)
            connections.sweep(second)
    assert [record.message for record in caplog.records] == ["connections cut or refused"] * 2
    assert caplog.records[0].fields == {"refused_of_address": 2, "refused": 1, "open": 5}  # type: ignore[attr-defined]
    assert "192.0.2" not in caplog.text


@pytest.mark.parametrize(
    ("files", "fitted", "raised_to"),
    [
        ((256, 256), (128, 64), 256),
        ((256, 1024), (512, 256), 1024),
        ((1024, 524_288), (1000, 512), 1768),
        ((1_048_576, 1_048_576), (1000, 512), 1_048_576),
        ((256, resource.RLIM_INFINITY), (1000, 512), 1768),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), (1000, 512), resource.RLIM_INFINITY),
    ],
)
def test_m8_connections_leave_descriptors_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, files: tuple[int, int], fitted: tuple[int, int], raised_to: int
) -> None:
    present = files

    def set_files(_: int, values: tuple[int, int]) -> None:
        nonlocal present
        present = values

    monkeypatch.setattr(resource, "getrlimit", lambda _: present)
    monkeypatch.setattr(resource, "setrlimit", set_files)
    limits = fit_descriptors(ConnectionLimits())
    assert (limits.connections, limits.waiting) == fitted
    assert present == (raised_to, files[1])
