"""A mail server for the tests of this folder that mail to households, and the account that they are about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api_service import ApiService
from tests.support.mail_server import MailReceiver, mail_receiver


@pytest.fixture(scope="module")
def mail_box() -> Iterator[MailReceiver]:
    with mail_receiver() as receiver:
        yield receiver


@pytest.fixture
def mails(mail_box: MailReceiver) -> MailReceiver:
    """Return the module's mail server without the mails of other tests."""
    mail_box.forget()
    return mail_box


@pytest.fixture
def account(service: ApiService) -> str:
    """An account without data: who gets in doesn't depend on it, and its page has no charts."""
    return service.add(11)
