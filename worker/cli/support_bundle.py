"""`releve support-bundle`: one account's state and last days in a file for support, pseudonymised."""

from __future__ import annotations

from pathlib import Path

import click

from worker.cli.common import open_runtime
from worker.ops.support_bundle import make_bundle


@click.command("support-bundle")
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("path", metavar="FILE.zip", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 400), help="How many days to explain.")
@click.option("--with-values", is_flag=True, help="Put in what the household used; only with its consent.")
def support_bundle(account_id: str, path: Path, days: int, with_values: bool) -> None:
    """Gather how ACCOUNT stands and why its last days are as they are into FILE.zip, for whoever helps.

    The account has another name in it; there is no meter number, no token and no secret.

    \b
    Example:
      releve support-bundle 3kq7d0fr2m --days 14 bundle.zip
    """
    with open_runtime() as runtime:
        bundle = make_bundle(runtime, runtime.registry.get_existing(account_id), days, with_values=with_values)
    try:
        bundle.write(path)
    except FileExistsError:
        raise click.ClickException(f"{path} is there already: name another file") from None
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}") from None
    click.echo(f"{path}: account {account_id} is called {bundle.alias} in it")
