"""A signed request to an address that can't be one."""

from __future__ import annotations

import pytest

from worker.clients.http_calls import GuardedHttp, open_session, post_signed
from worker.errors import NotDelivered


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example", "%zz"])
def test_a_host_that_can_not_be_a_name_is_not_reached_and_not_repeated(host: str) -> None:
    with open_session(GuardedHttp()) as session, pytest.raises(NotDelivered) as caught:
        post_signed(session, f"https://{host}/secret-path", "s3cret", b"{}", 0)
    assert host not in str(caught.value) and "secret" not in str(caught.value)
