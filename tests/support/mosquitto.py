"""A Mosquitto broker for the tests, with a plain listener and one with TLS, users and rights, and its messages."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.certificates import Certificates
from tests.support.servers import START_TIMEOUT_S, NotInstalled
from worker.stores.child_processes import Supervisor, free_port

USER, PASSWORD = "releve", "s3cret-of-mosquitto"
NARROW_USER: Final = "narrow"  # It may write to our own topics, but not to discovery topics.

_CONFIG: Final = """
per_listener_settings false
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/rights
persistence true
persistence_location {folder}/
log_type error
listener {port} 127.0.0.1
listener {tls_port} 127.0.0.1
certfile {certificate}
keyfile {key}
"""
_RIGHTS: Final = f"""
user {USER}
topic readwrite #

user {NARROW_USER}
topic write releve/#
"""


class Mosquitto:
    """A broker that can be stopped and started again, with the same ports and retained messages."""

    def __init__(self, folder: Path, children: Supervisor, tls: Certificates) -> None:
        self._folder, self._children = folder, children
        self.port, self.tls_port = free_port(), free_port()
        ports = {"port": self.port, "tls_port": self.tls_port}
        config = _CONFIG.format(folder=folder, certificate=tls.certificate, key=tls.key, **ports)
        as_root = "user root\n" if os.geteuid() == 0 else ""  # Else it switches to a user who can't read the key.
        (folder / "mosquitto.conf").write_text(as_root + config)
        (folder / "rights").write_text(_RIGHTS)
        (folder / "rights").chmod(0o600)
        for flags, user in ((["-c"], USER), ([], NARROW_USER)):
            command = ["mosquitto_passwd", *flags, "-b", str(folder / "passwords"), user, PASSWORD]
            subprocess.run(command, check=True, capture_output=True)

    def start(self) -> None:
        command = [_program(), "-c", str(self._folder / "mosquitto.conf")]
        self._children.start("mosquitto", command, log_path=self._folder / "log")
        self._children.wait_until_ready("mosquitto", self._answers, START_TIMEOUT_S)

    def stop(self) -> None:
        self._children.stop_child("mosquitto")

    def retained(self) -> dict[str, Any]:
        """Return all retained messages by topic; JSON is parsed."""
        end, payloads = "releve-test/end", dict[str, Any]()

        def keep(client: Client, userdata: Any, message: MQTTMessage) -> None:
            if message.topic == end:
                client.disconnect()
            else:
                payloads[message.topic] = _read(message.payload.decode())

        client = Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set(USER, PASSWORD)
        client.on_connect = lambda *_: client.subscribe("#", qos=1)
        # Retained messages are sent before messages that are published after the subscription.
        client.on_subscribe = lambda *_: client.publish(end, "", qos=1)
        client.on_message = keep
        client.connect("127.0.0.1", self.port)
        client.loop_forever()
        return payloads

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.tls_port), timeout=5):
                return True
        except OSError:
            return False


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _program() -> str:
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("mosquitto_passwd") is None:
        raise NotInstalled("no MQTT broker: apt-get install mosquitto")
    return program


@contextmanager
def mosquitto(tls: Certificates) -> Iterator[Mosquitto]:
    """Yield a running broker without messages. Raises NotInstalled."""
    _program()
    with ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="releve-mqtt-", ignore_cleanup_errors=True))
        broker = Mosquitto(Path(folder), opened.enter_context(Supervisor(grace_s=5)), tls)
        broker.start()
        yield broker
