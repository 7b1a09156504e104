"""A RabbitMQ node for the tests, on loopback and in a folder of its own; it is deleted at the end."""

from __future__ import annotations

import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import amqp

from tests.support.certificates import Certificates
from tests.support.servers import START_TIMEOUT_S, NotInstalled
from worker.stores.child_processes import Supervisor, free_port

# Debian's own program: the one on the PATH changes user and folders.
PROGRAM: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
USER, PASSWORD, VHOST = "releve", "s3cret-of-rabbit", "homes"

# A node that was killed while it forwarded a delayed message forwards it again after this time; 180 s by default.
DEAD_LETTER_TIMEOUT_MS: Final = 2_000

_CONFIG: Final = f"""
listeners.tcp.default = 127.0.0.1:{{port}}
listeners.ssl.default = 127.0.0.1:{{tls_port}}
ssl_options.certfile = {{certificate}}
ssl_options.keyfile = {{key}}
default_user = {USER}
default_pass = {PASSWORD}
default_vhost = {VHOST}
log.console.level = warning
disk_free_limit.absolute = 10MB
"""


class RabbitMQ:
    """A node that can be killed and started again in the same folder; ``url`` and ``tls_url`` stay the same."""

    def __init__(
        self, folder: Path, children: Supervisor, epmd_port: int, tls: Certificates, name: str = "rabbitmq"
    ) -> None:
        self._folder, self._children, self._epmd_port, self._name = folder, children, epmd_port, name
        self._tls = ssl.create_default_context(cafile=tls.authority)
        self.port, self.tls_port, self._dist_port = (free_port() for _ in range(3))
        self.url = f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{VHOST}"
        self.tls_url = f"amqps://{USER}:{PASSWORD}@127.0.0.1:{self.tls_port}/{VHOST}"
        config = _CONFIG.format(port=self.port, tls_port=self.tls_port, certificate=tls.certificate, key=tls.key)
        (folder / "rabbitmq.conf").write_text(config)
        (folder / "plugins").write_text("[].")
        cookie = folder / ".erlang.cookie"  # Nodes of a cluster share it.
        cookie.write_text("RELEVE")
        cookie.chmod(0o400)

    @property
    def node_name(self) -> str:
        return f"releve-{self.port}@localhost"

    def form_cluster(self, names: Sequence[str]) -> None:
        """Let the node look for these others when it starts for the first time."""
        lines = [f"cluster_formation.classic_config.nodes.{number} = {name}" for number, name in enumerate(names, 1)]
        with (self._folder / "rabbitmq.conf").open("a") as config:
            config.write("\n".join(["cluster_formation.peer_discovery_backend = classic_config", *lines, ""]))

    def start(self) -> None:
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        log = self._folder / "node.log"
        self._children.start(self._name, [str(PROGRAM)], env=self._env(), log_path=log)

    def wait_until_ready(self) -> None:
        self._children.wait_until_ready(self._name, self._answers, START_TIMEOUT_S)

    def kill(self) -> None:
        """Kill the node with SIGKILL, as when its host goes down."""
        self._children.kill_child(self._name)

    def _answers(self) -> bool:
        """Return whether both listeners answer; the TLS one opens last, and another process may hold its port."""
        try:
            with amqp.Connection(f"127.0.0.1:{self.port}", USER, PASSWORD, virtual_host=VHOST, connect_timeout=5):
                pass
            with socket.create_connection(("127.0.0.1", self.tls_port), timeout=5) as connection:
                self._tls.wrap_socket(connection, server_hostname="localhost").close()
        except (OSError, amqp.AMQPError):
            return False
        return True

    def _env(self) -> Mapping[str, str]:
        folder = self._folder
        return {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none"
            f" -rabbit dead_letter_worker_publisher_confirm_timeout {DEAD_LETTER_TIMEOUT_MS}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
        }


@contextmanager
def rabbitmq(tls: Certificates) -> Iterator[RabbitMQ]:
    """Yield a running node with an empty vhost.  Raises NotInstalled."""
    with _nodes(tls, 1) as (node,):
        node.start()
        yield node


@contextmanager
def rabbitmq_cluster(tls: Certificates) -> Iterator[list[RabbitMQ]]:
    """Yield the three running nodes of a cluster with an empty vhost.  Raises NotInstalled."""
    with _nodes(tls, 3) as nodes:
        for node in nodes:
            node.form_cluster([each.node_name for each in nodes])
            node.begin()  # They wait for each other.
        for node in nodes:
            node.wait_until_ready()
        yield nodes


@contextmanager
def _nodes(tls: Certificates, number: int) -> Iterator[list[RabbitMQ]]:
    epmd = shutil.which("epmd")
    if epmd is None or not PROGRAM.exists():
        raise NotInstalled("no RabbitMQ: apt-get install rabbitmq-server")
    with ExitStack() as opened:
        folder = Path(
            opened.enter_context(tempfile.TemporaryDirectory(prefix="releve-rabbit-", ignore_cleanup_errors=True))
        )
        children = opened.enter_context(Supervisor(grace_s=5))
        port = free_port()
        # We start the port mapper ourselves: the node would start one that outlives it.
        children.start("epmd", [epmd, "-address", "127.0.0.1", "-port", str(port)])
        names = [f"rabbitmq-{each}" for each in range(number)]
        for name in names:
            (folder / name).mkdir()
        yield [RabbitMQ(folder / name, children, port, tls, name) for name in names]
