"""The commands by group, each with the line that `releve --help` prints of it.

The lines stand here, so that no command is imported for them. A test holds that each command has one, and that none is
too long for 80 columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Look": {
        "status": "Show how accounts stand: all in numbers, or one.",
        "explain": "Say why a day's data is missing or incomplete.",
        "show": "Print the stored data of an account.",
        "history": "Show the values of a day that were corrected.",
        "completeness": "Count complete and missing days of an account.",
        "freshness": "Show how many accounts have yesterday's data.",
        "incidents": "Show outages of the supplier; open or close one.",
        "doctor": "Check settings, servers, workers and beat.",
        "audit": "Show who did what, by page, API or command.",
        "support-bundle": "Gather what support needs about an account.",
    },
    "Accounts and consents": {
        "home": "Add your own home's meter by a token; show its state.",
        "accounts": "Add, list, pause, resume and remove accounts.",
        "consents": "Show when consents end; check their evidence.",
        "invite": "Print a link by which one person consents.",
        "invitations": "List and revoke invitation links.",
        "requests": "Accept or refuse connection requests.",
        "rights": "Show the rights of access to gas meters.",
    },
    "Fetch and check data": {
        "sync": "Fetch the last days of an account again.",
        "backfill": "Fetch the missing history of an account.",
        "import": "Store the readings of downloaded files.",
        "verify": "Compare stored readings and totals; repair them.",
        "replay": "Read kept answers again, after a bug fix.",
        "quarantine": "Look at answers in a form that is not known.",
    },
    "Send on": {
        "outputs": "Send measures to Home Assistant, MQTT and others.",
    },
    "Run": {
        "up": "Run worker, beat, web and Flower here.",
        "web": "Serve the web pages and the API.",
        "metrics": "Serve the metrics for Prometheus.",
        "health": "Tell a container platform whether a part works.",
        "plan": "Compute what the nights take of the quota.",
        "migrate": "Bring the databases up to this version.",
        "migrate-layout": "Move the measures into another layout.",
        "backup": "Save the registry and the measures.",
        "backup-info": "Check a backup, and print what is in it.",
        "restore": "Restore a backup.",
    },
    "Access and secrets": {
        "operators": "Make, list and end operators.",
        "sessions": "List and end the sessions of browsers.",
        "tokens": "Make, list and revoke tokens of the API.",
        "proxy-clients": "Make, list and revoke clients of the proxy.",
        "tenants": "Set up services that share this installation.",
        "keys": "Make a key, or rotate the keys.",
        "secrets": "Make the secrets of an installation.",
    },
    "Try": {
        "demo": "Connect three pretend homes and show a week.",
        "pretend-homes": "Connect three pretend homes of the simulator.",
        "simulate": "Behave like the suppliers, with pretend homes.",
        "drill": "Kill servers and workers; compare what is stored.",
    },
}
COMMANDS: Final[Mapping[str, str]] = {name: line for group in GROUPS.values() for name, line in group.items()}
OF_GAS: Final = frozenset({"rights"})  # Shown where gas is set up.
