"""What is published: files fetched over https from named hosts, and the call that fetches anything published."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urljoin

import requests
from urllib3.exceptions import HTTPError

from worker.clients.endpoints import host_of
from worker.clients.http_calls import TIMEOUTS_S, BoundedHttp
from worker.errors import AnswerTooLarge, SupplierTooSlow, TransientError

_LONGEST_S: Final = 30.0  # Of each call.
_MOST_CALLS: Final = 5  # The last may not redirect.


class NotFetched(TransientError):
    """What is published can't be fetched now; the text names the host, not the address."""


def fetch_text(url: str, hosts: Collection[str], longest: int) -> str:
    """Return the text of a file of at most ``longest`` bytes; it and all redirects must be on one of ``hosts``.

    What isn't UTF-8 is replaced. Raises NotFetched.
    """
    whose = "the address isn't"
    with requests.Session() as session:
        session.mount("https://", BoundedHttp(longest, _LONGEST_S))
        for _ in range(_MOST_CALLS):
            host = host_of(url)
            # Parsers find different hosts in a URL with a backslash.
            if not url.lower().startswith("https://") or host not in hosts or "\\" in url:
                raise NotFetched(f"{whose} https:// on a named host")
            answer = call(session, "GET", url)
            if not answer.is_redirect:
                break
            url, whose = urljoin(url, answer.headers["Location"]), f"{host} redirects to a place that isn't"
        else:
            raise NotFetched(f"{host} redirects too often")
    if answer.status_code != requests.codes.ok:
        raise NotFetched(f"{host} answered with status {answer.status_code}")
    return answer.content.decode("utf-8-sig", "replace")


def call(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
    """Return the answer to a request, whatever its status; no redirect is followed. Raises NotFetched."""
    host = host_of(url)
    try:
        return session.request(
            method, url, timeout=TIMEOUTS_S, allow_redirects=False, headers={"User-Agent": "Releve"}, **options
        )
    except AnswerTooLarge as error:
        raise NotFetched(f"{host} sent too much: {error}") from None
    except SupplierTooSlow:
        raise NotFetched(f"{host} did not finish its answer in time") from None
    # ValueError: it redirects to no URL. The texts of these errors quote the address.
    except (requests.RequestException, HTTPError, ValueError) as error:
        raise NotFetched(f"{host} can't be reached, or broke off ({type(error).__name__})") from None
