"""releve up: the whole engine on one machine, with real credentials."""

from __future__ import annotations

import click

from config.settings import Settings, get_settings
from worker.cli.common import warn
from worker.cli.house import last_words, public_url, start_engine, start_web
from worker.embedded import Supervisor
from worker.runtime import Runtime, announce_pretence
from worker.web.server import DEFAULT_HOST, DEFAULT_PORT

_LOOK_S = 1.0


@click.command()
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address that the web service listens on.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="Its port.")
def up(host: str, port: int) -> int:
    """Run worker, beat and web here until Ctrl-C, with an embedded Redis unless RELEVE_REDIS_URL names one.

    What other terminals do meanwhile (`releve accounts add`, `releve status`) works on the same data.

    \b
    Example:
      RELEVE_ENEDIS_CLIENT_ID=… RELEVE_ENEDIS_CLIENT_SECRET=… releve up
    """
    settings = get_settings()
    announce_pretence(settings, warn)
    with Runtime(settings) as runtime:  # also migrates the registry, and refuses what can't work
        env = {} if settings.redis_url else {"RELEVE_REDIS_URL": runtime.redis_url}
        env["RELEVE_PUBLIC_URL"] = public_url(settings, host, port)
        return _run(settings, env, host, port)


def _run(settings: Settings, env: dict[str, str], host: str, port: int) -> int:
    logs = settings.data_dir / "logs"
    with Supervisor(grace_s=settings.supplier_timeout_s + 10) as supervisor:
        start_engine(supervisor, env, logs)
        start_web(supervisor, env, logs, host, port)
        click.echo(f"worker, beat and web are running; logs in {logs}; Ctrl-C ends them")
        click.echo(f"pages and API at {env['RELEVE_PUBLIC_URL']}, listening on {host}:{port}")
        try:
            while not (gone := supervisor.wait(_LOOK_S)):
                pass
        except KeyboardInterrupt:  # the usual end
            return 0
        for end in gone:
            warn(f"{end}: {last_words(logs / f'{end.name}.log')}")
    return 1
