"""releve up: the whole engine on one machine, with real credentials."""

from __future__ import annotations

import click

from config.settings import Settings, get_settings
from worker.cli.common import warn
from worker.cli.house import last_words, start_engine
from worker.embedded import Supervisor
from worker.runtime import Runtime, announce_pretence

_LOOK_S = 1.0


@click.command()
def up() -> int:
    """Run worker and beat here until Ctrl-C, with an embedded Redis unless RELEVE_REDIS_URL names one.

    What other terminals do meanwhile (`releve accounts add`, `releve status`) works on the same data.

    \b
    Example:
      RELEVE_ENEDIS_CLIENT_ID=… RELEVE_ENEDIS_CLIENT_SECRET=… releve up
    """
    settings = get_settings()
    announce_pretence(settings, warn)
    with Runtime(settings) as runtime:  # also migrates the registry, and refuses what can't work
        env = {} if settings.redis_url else {"RELEVE_REDIS_URL": runtime.redis_url}
        return _run(settings, env)


def _run(settings: Settings, env: dict[str, str]) -> int:
    logs = settings.data_dir / "logs"
    with Supervisor(grace_s=settings.supplier_timeout_s + 10) as supervisor:
        start_engine(supervisor, env, logs)
        click.echo(f"worker and beat are running; logs in {logs}; Ctrl-C ends them")
        try:
            while not (gone := supervisor.wait(_LOOK_S)):
                pass
        except KeyboardInterrupt:  # the usual end
            return 0
        for end in gone:
            warn(f"{end}: {last_words(logs / f'{end.name}.log')}")
    return 1
