"""A mail server for the tests of this folder that mail to households."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mail_server import MailReceiver, mail_receiver


@pytest.fixture
def mails() -> Iterator[MailReceiver]:
    with mail_receiver() as receiver:
        yield receiver
