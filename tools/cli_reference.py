"""Generate docs/reference/cli.md from the commands: ``python -m tools.cli_reference > docs/reference/cli.md``.

Hidden commands are left out.  `make lint` compares the page with the commands.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Final

import click

from worker.cli.gas_option import REFERENCE
from worker.cli.main import cli

_HEAD: Final = """# Commands

Made from `worker/cli/` by `python -m tools.cli_reference`; `make lint` checks it.

Every command has `-h` and `--help`. `python -m worker` is the same as `releve`.

| exit code | meaning |
| --- | --- |
| 0 | success |
| 1 | the command failed, or a check found a fault |
| 2 | wrong call or wrong settings |
| 130 | interrupted by Ctrl-C or SIGTERM |

An error is one line on standard error that says what to do. `releve` alone, or a group without a subcommand, prints its
help on standard error and exits with 2.

With `--json`, a list has one object a line, printed while the command runs. For an empty list, nothing is printed.
Other results are one object. `releve show --format json` is different: it prints one array, like a file. Tables fit 80
columns, or `COLUMNS`; codes and ids are never cut.

## Completion in the shell

To complete commands and options with <kbd>Tab</kbd>, add this line to your shell's start-up file:

```
eval "$(_RELEVE_COMPLETE=bash_source releve)"           # ~/.bashrc
eval "$(_RELEVE_COMPLETE=zsh_source releve)"            # ~/.zshrc
_RELEVE_COMPLETE=fish_source releve | source            # ~/.config/fish/config.fish
```
"""
_SPECIAL: Final = re.compile(r"([<*_])")


def to_markdown() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *_command(cli, "releve", None)])


def _command(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    """Yield the command's own section, then those of its subcommands in the order of ``--help``."""
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent, obj=REFERENCE)
    yield f"{'#' * min(path.count(' ') + 2, 4)} {path}\n"
    yield _fenced(" ".join([path, *command.collect_usage_pieces(context)]))
    yield from _help(command.help or "")
    if options := list(_options(command, context)):
        yield "\n".join(options) + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            if subcommand is not None and not subcommand.hidden:
                yield from _command(subcommand, f"{path} {name}", context)


def _help(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n[ ]*\n", text):
        lines = paragraph.strip("\n").splitlines()
        if lines and lines[0].strip() == "\b":  # With this sign click prints a paragraph as it stands: our examples.
            yield f"{_plain(lines[1].strip())}\n"
            yield _fenced("\n".join(line.strip() for line in lines[2:]))
        elif lines:
            # Before Python 3.13 the last line of a docstring may be blank.
            yield _plain(" ".join(line.strip() for line in lines).rstrip()) + "\n"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the options as items of a list; in a table the bars between choices would break the row."""
    for parameter in command.get_params(context):
        # No record comes for a hidden option, and an empty text for most arguments.
        record = parameter.get_help_record(context)
        if record and record[1] and "--help" not in parameter.opts:
            yield f"- `{record[0]}`: {_plain(re.sub(' +', ' ', record[1]))}"


def _fenced(text: str) -> str:
    return f"```\n{text.strip()}\n```\n"


def _plain(text: str) -> str:
    """Escape the text so that nothing but backticks is markup."""
    parts = text.split("`")
    return "`".join(part if number % 2 else _SPECIAL.sub(r"\\\1", part) for number, part in enumerate(parts))


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
