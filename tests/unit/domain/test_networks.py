"""L6: which addresses a webhook may reach."""

from __future__ import annotations

import pytest

from worker.domain.networks import is_loopback_host, may_be_called, may_be_reached, parse_networks

PRIVATE = ["10.1.2.3", "192.168.1.5", "169.254.169.254", "fe80::1%eth0", "fd00::1", "0.0.0.0", "::", "100.64.0.1"]


@pytest.mark.parametrize("address", [*PRIVATE, "::ffff:10.1.2.3", "224.0.0.1", "127.0.0.1", "::1"])
@pytest.mark.parametrize("is_plain", [True, False])
def test_a_name_leads_into_no_private_network(address: str, is_plain: bool) -> None:
    assert not may_be_called(address, "hook.example", [], is_plain=is_plain)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34"])
def test_a_public_address_is_called_over_tls_alone(address: str) -> None:
    assert may_be_called(address, "hook.example", [], is_plain=False)
    assert not may_be_called(address, "hook.example", [], is_plain=True)


@pytest.mark.parametrize("address, host", [("127.0.0.1", "localhost"), ("::1", "::1"), ("127.9.9.9", "127.9.9.9")])
def test_this_machine_is_called_by_a_name_of_its_own(address: str, host: str) -> None:
    assert may_be_called(address, host, [], is_plain=True) and is_loopback_host(host)


def test_a_network_that_is_named_may_be_called() -> None:
    networks = parse_networks("10.1.0.0/16, fd00::/8")
    assert may_be_called("10.1.2.3", "hook", networks, is_plain=True)
    assert may_be_called("fd00::1", "hook", networks, is_plain=True)
    assert not may_be_called("10.2.2.3", "hook", networks, is_plain=False)


@pytest.mark.parametrize("address", ["64:ff9b::a00:1", "2002:a00:1::1", "::10.0.0.1", "::ffff:10.0.0.1", "fec0::1"])
def test_no_way_of_writing_hides_a_private_address(address: str) -> None:
    assert not may_be_called(address, "hook.example", (), is_plain=False)
    assert not may_be_reached(address, ())


@pytest.mark.parametrize("address", ["64:ff9b::101:101", "2002:101:101::1", "2606:4700::1111"])
def test_a_public_address_is_called_also_through_a_gateway(address: str) -> None:
    assert may_be_called(address, "hook.example", (), is_plain=False)


@pytest.mark.parametrize("address", ["::1", "::"])
def test_the_addresses_of_this_machine_stay_what_they_are(address: str) -> None:
    assert not may_be_called(address, "hook.example", (), is_plain=False)
