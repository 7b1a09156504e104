"""A short connection to an MQTT broker that publishes messages one at a time.

MQTT 5 is used, because its acknowledgements say whether the user may write to a topic. We call the loop of the library
paho in the caller's thread, so no thread is left behind, and each wait has a limit.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from worker.errors import NotDelivered
from worker.outputs.output import OutputRefused

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_TIMEOUT_S: Final = 15.0  # Applies separately to the connection, the broker's CONNACK, and each acknowledgement.
_POLL_S: Final = 0.5
_AT_LEAST_ONCE: Final = 1
_BAD_PROTOCOL: Final = 132
_REFUSED_CREDENTIALS: Final = (134, 135, 138, 140)  # Bad user or password, not authorized, banned, bad method.
_BUSY: Final = (136, 137, 151, 159)  # Unavailable, busy, quota exceeded, connection rate exceeded.


@dataclass(frozen=True, slots=True)
class RetainedMessage:
    """A retained message; an empty payload removes the message that the broker has retained under the topic."""

    topic: str
    payload: str


@dataclass(frozen=True, kw_only=True)
class MqttBroker:
    """An MQTT broker. ``ca_file``: the certificates to trust instead of the system's."""

    host: str
    port: int
    has_tls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    @contextmanager
    def connect(self, will: RetainedMessage | None = None) -> Iterator[MqttConnection]:
        """Open a connection; if it breaks off, the broker publishes ``will``. Raises NotDelivered, OutputRefused."""
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"releve-{secrets.token_hex(6)}",  # With the same id, two processes would disconnect each other.
            protocol=MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _TIMEOUT_S
        if self.user is not None:
            client.username_pw_set(self.user, self.password)
        if will is not None:
            client.will_set(will.topic, will.payload, _AT_LEAST_ONCE, retain=True)
        if self.has_tls:
            client.tls_set_context(self._tls_context())
        connection = MqttConnection(client)
        try:
            self._open(client)
            connection.wait_for_greeting()
            yield connection
        finally:
            client.disconnect()

    def _open(self, client: Client) -> None:
        try:
            client.connect(self.host, self.port)
        except ssl.SSLCertVerificationError as error:
            raise OutputRefused(
                f"the broker's certificate is not trusted ({error.verify_message}): set the option ca_file to its "
                "authority's certificate"
            ) from None
        except ssl.SSLError:
            raise NotDelivered("the broker does not use TLS on this port, or broke off: mqtts:// needs TLS") from None
        except (OSError, ValueError) as error:
            raise NotDelivered(f"the broker can't be reached: {_reason(error)}") from None

    def _tls_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError):
            raise OutputRefused("the file of the option ca_file can't be read, or is not a certificate") from None
        context.sslsocket_class = _ClosingTlsSocket
        return context


class _ClosingTlsSocket(ssl.SSLSocket):
    """A TLS socket that closes itself if the handshake fails, because paho would leave it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class MqttConnection:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._greeting: ReasonCode | None = None
        self._acknowledged: dict[int, ReasonCode] = {}
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish

    def publish(self, message: RetainedMessage) -> None:
        """Publish a retained message, and wait for the broker's acknowledgement. Raises NotDelivered, OutputRefused."""
        info = self._client.publish(message.topic, message.payload, _AT_LEAST_ONCE, retain=True)
        ends_at = time.monotonic() + _TIMEOUT_S
        while info.mid not in self._acknowledged:
            self._turn(ends_at)
        code = self._acknowledged.pop(info.mid)
        if code.value in _REFUSED_CREDENTIALS:
            raise OutputRefused(f"the broker does not let this user write to {message.topic}")
        if code.is_failure:
            raise NotDelivered(f"the broker did not accept a message: {code}")

    def wait_for_greeting(self) -> None:
        """Wait until the broker has accepted the connection. Raises NotDelivered, OutputRefused."""
        ends_at = time.monotonic() + _TIMEOUT_S
        while self._greeting is None:
            self._turn(ends_at)
        code = self._greeting
        if not code.is_failure:
            return
        if code.value in _REFUSED_CREDENTIALS:
            raise OutputRefused(f"the broker refuses the user or the password: {code}")
        if code.value == _BAD_PROTOCOL:
            raise OutputRefused("the broker does not support MQTT 5: use a newer one, such as Mosquitto 2")
        raise (NotDelivered if code.value in _BUSY else OutputRefused)(f"the broker refuses the connection: {code}")

    def _turn(self, ends_at: float) -> None:
        """Let paho read and write for a moment. Raises NotDelivered if the connection ends or the time runs out."""
        if self._client.loop(_POLL_S) is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            if self._greeting is None:
                raise NotDelivered("the broker closed the connection before it answered")
            if not self._greeting.is_failure:
                raise NotDelivered("the connection to the broker broke off")
        if time.monotonic() > ends_at:
            raise NotDelivered(f"the broker did not answer within {_TIMEOUT_S:g} s")

    def _on_connect(self, client: Client, userdata: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        self._greeting = code

    def _on_publish(self, client: Client, userdata: Any, mid: int, code: ReasonCode, properties: Any) -> None:
        self._acknowledged[mid] = code


def _reason(error: Exception) -> str:
    """Return the meaning of a network error, without its own text, which may name an address."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case ConnectionRefusedError():
            return "nothing listens on this port"
        case socket.gaierror():
            return "no such name"
        case _:
            return type(error).__name__
