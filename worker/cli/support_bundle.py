"""`releve support-bundle`: one account's state and last days in a file for support, pseudonymised."""

from __future__ import annotations

from pathlib import Path

import click

from worker.cli.common import open_runtime
from worker.ops.support_bundle import make_bundle


@click.command("support-bundle")
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("path", metavar="FILE.zip", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 400), help="Number of days to explain.")
@click.option("--with-values", is_flag=True, help="Include the household's consumption. Ask for its consent first.")
def support_bundle(account_id: str, path: Path, days: int, with_values: bool) -> None:
    """Write the state of ACCOUNT and the explanation of its last days to FILE.zip, for support.

    The file names the account by an alias. It has no meter number, token or secret.

    \b
    Example:
      releve support-bundle 3kq7d0fr2m --days 14 bundle.zip
    """
    with open_runtime() as runtime:
        bundle = make_bundle(runtime, runtime.registry.get_existing(account_id), days, with_values=with_values)
    try:
        bundle.write(path)
    except FileExistsError:
        raise click.ClickException(f"{path} exists already: give another name") from None
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}") from None
    click.echo(f"wrote {path}: it calls account {account_id} {bundle.alias}")
