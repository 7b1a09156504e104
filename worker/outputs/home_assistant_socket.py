"""Calls to Home Assistant over its WebSocket, one command at a time.

Source: https://developers.home-assistant.io/docs/api/websocket, and the recorder's commands of versions 2022.8 to
2026.2. A command such as ``{"id": 3, "type": "get_config"}`` is answered by ``{"id": 3, "type": "result", "success":
true, "result": {…}}``.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from worker.errors import NotDelivered
from worker.outputs.output import OutputRefused

TIMEOUT_S: Final = 30.0
_LONGEST_MESSAGE: Final = 16 * 1024**2  # The rows of three years take 4 MB when they are read back.
OLDEST_VERSION: Final = (2022, 8)  # The first version with recorder/import_statistics.
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_EXAMPLE: Final = "http://homeassistant.local:8123"
_NO_HOME_ASSISTANT: Final = f"this is not Home Assistant: give the address of its pages, such as {_EXAMPLE}"
# The library logs each frame at level DEBUG, including the frame with the token.
_SILENT: Final = logging.getLogger("worker.outputs.home_assistant_frames")
_SILENT.setLevel(logging.CRITICAL)
Message = dict[str, Any]
Version = tuple[int, int]


def parse_address(url: str) -> str:
    """Return the address of the WebSocket: ``http://HOST:8123`` gives ``ws://HOST:8123/api/websocket``.

    An address that begins with ws:// or wss:// may have another path. Raises ValueError, which says what to write.
    """
    try:
        parts = urlsplit(url.strip())
        is_right = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.query or parts.fragment:
        raise ValueError(f"the address must be http://HOST:8123 or https://HOST, such as {_EXAMPLE}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the address must not contain a user name or password: the token is enough")
    scheme, path = _SCHEMES[parts.scheme], parts.path.rstrip("/")
    if parts.scheme != scheme or not path:
        path += "/api/websocket"
    return f"{scheme}://{parts.netloc}{path}"


@dataclass(frozen=True)
class HomeAssistantAddress:
    """The address of a Home Assistant's WebSocket, and the access token for it."""

    url: str = field(repr=False)
    token: str = field(repr=False)
    timeout_s: float = TIMEOUT_S

    @contextmanager
    def open(self) -> Iterator[HomeAssistantSession]:
        """Open an authenticated session. Raises NotDelivered or OutputRefused."""
        with _explain_failures(), self._connect() as socket:
            yield HomeAssistantSession.begin(socket, self.token, self.timeout_s)

    def _connect(self) -> ClientConnection:
        return connect(
            self.url,
            ssl=ssl.create_default_context() if self.url.startswith("wss:") else None,
            compression=None,
            proxy=None,
            max_size=_LONGEST_MESSAGE,
            open_timeout=self.timeout_s,
            close_timeout=self.timeout_s,
            user_agent_header="Releve",
            logger=_SILENT,
        )


class HomeAssistantSession:
    """An open connection whose token was accepted; ``version`` is Home Assistant's version."""

    def __init__(self, socket: ClientConnection, timeout_s: float, version_text: str) -> None:
        self._socket, self._timeout_s = socket, timeout_s
        self._ids = count(1)
        self.version_text = version_text
        self.version = parse_version(version_text)

    @classmethod
    def begin(cls, socket: ClientConnection, token: str, timeout_s: float) -> HomeAssistantSession:
        """Send the token, and return the session. Raises OutputRefused for a wrong token, and ``check``'s errors."""
        if _receive(socket, timeout_s).get("type") != "auth_required":
            raise OutputRefused(_NO_HOME_ASSISTANT)
        socket.send(json.dumps({"type": "auth", "access_token": token}))
        answer = _receive(socket, timeout_s)
        if answer.get("type") == "auth_invalid":
            raise OutputRefused(
                "Home Assistant refuses the token: create a long-lived access token in your profile, under "
                "Security, and set it"
            )
        if answer.get("type") != "auth_ok":
            raise OutputRefused(_NO_HOME_ASSISTANT)
        session = cls(socket, timeout_s, str(answer.get("ha_version", "")))
        session.check()
        return session

    def check(self) -> None:
        """Raise OutputRefused if Home Assistant can't accept statistics, or NotDelivered if it is still starting."""
        if self.version < OLDEST_VERSION:
            raise OutputRefused(f"Home Assistant {self.version_text} is too old: update it to 2022.8 or newer")
        if not self.call("auth/current_user").get("is_admin"):
            raise OutputRefused(
                "the token's user is not an administrator of Home Assistant: use the token of an administrator"
            )
        if self.call("get_config").get("state", "RUNNING") != "RUNNING":
            raise NotDelivered("Home Assistant is still starting")

    def call(self, command: str, **parameters: Any) -> Any:
        """Send a command, and return its result. Raises OutputRefused if Home Assistant refuses the command."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "type": command, **parameters}, ensure_ascii=False))
        ends_at = time.monotonic() + self._timeout_s
        while (answer := _receive(self._socket, self._timeout_s)).get("id") != number:
            if time.monotonic() > ends_at:  # Messages that answer none of our commands may arrive endlessly.
                raise TimeoutError
        if answer.get("success") is not True:
            raise self._refusal(command, answer)
        result = answer.get("result")
        return result if isinstance(result, dict | list) else {}

    def _refusal(self, command: str, answer: Message) -> OutputRefused:
        """Return the error for a refused command, without Home Assistant's message, which may quote the command."""
        error = answer.get("error")
        code = str(error.get("code")) if isinstance(error, dict) else "unknown"
        if code == "unknown_command" and command.startswith("recorder/"):
            return OutputRefused(f"Home Assistant {self.version_text} runs without its recorder: switch it on")
        code = code if re.fullmatch(r"\w{1,40}", code) else "unknown"
        return OutputRefused(f"Home Assistant {self.version_text} refuses {command}: {code}")


def parse_version(text: str) -> Version:
    """Return the year and month of a version such as 2026.11.0b1. Raises OutputRefused for another text."""
    if not (match := re.match(r"(\d{1,4})\.(\d{1,3})(?!\d)", text)):
        raise OutputRefused("Home Assistant does not report its version")
    return int(match[1]), int(match[2])


def _receive(socket: ClientConnection, timeout_s: float) -> Message:
    """Return the next message. Raises OutputRefused if it isn't a JSON object, as Home Assistant's messages are."""
    try:
        message = json.loads(socket.recv(timeout=timeout_s))
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise OutputRefused(_NO_HOME_ASSISTANT)
    return message


def _tls_fault(reason: str) -> NotDelivered | OutputRefused:
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return OutputRefused("Home Assistant does not use TLS at this address: write http://")
    return NotDelivered("no TLS connection to Home Assistant: if it does not use TLS, write http://")


def _status_fault(status: int) -> NotDelivered | OutputRefused:
    if status >= 500 or status == 429:
        return NotDelivered(f"Home Assistant is not at this address: status {status}")
    return OutputRefused(_NO_HOME_ASSISTANT)


@contextmanager
def _explain_failures() -> Iterator[None]:
    """Turn failures of a connection into NotDelivered or OutputRefused, with a text of one line."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise OutputRefused(f"the certificate of Home Assistant is not trusted: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise _tls_fault(error.reason) from None
    except TimeoutError:
        raise NotDelivered("Home Assistant does not answer in time") from None
    except OSError as error:
        raise NotDelivered(f"Home Assistant can't be reached: {error.strerror or type(error).__name__}") from None
    except InvalidStatus as error:
        raise _status_fault(error.response.status_code) from None
    except ConnectionClosed:
        raise NotDelivered("Home Assistant has closed the connection") from None
    except InvalidHandshake as error:
        if isinstance(error.__cause__, EOFError):
            raise NotDelivered("Home Assistant has closed the connection") from None
        raise OutputRefused(_NO_HOME_ASSISTANT) from None
    except WebSocketException as error:
        raise NotDelivered(f"the connection to Home Assistant failed: {type(error).__name__}") from None
