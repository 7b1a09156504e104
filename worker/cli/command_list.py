"""The commands by group, each with the line that `releve --help` prints of it.

The lines stand here, so that no command is imported for them. A test holds that each command has one, and that none is
too long for 80 columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Inspect": {
        "status": "Show the state of all accounts, or of one.",
        "explain": "Explain why a day's data is missing.",
        "show": "Print the stored data of an account.",
        "history": "Show the corrections of a day.",
        "completeness": "Count complete and missing days of an account.",
        "freshness": "Show how many accounts have yesterday's data.",
        "incidents": "Show incidents; open or close one.",
        "doctor": "Check settings, servers, workers and beat.",
        "audit": "Show who did what, by page, API or command.",
        "support-bundle": "Write a file about an account, for support.",
    },
    "Accounts and consents": {
        "home": "Set up your own home; show its state.",
        "accounts": "Add, list, pause, resume and remove accounts.",
        "consents": "Show when consents end; check their proofs.",
        "invite": "Print a link with which a person consents.",
        "invitations": "List and revoke invitation links.",
        "requests": "Accept or refuse connection requests.",
        "rights": "Show the access rights to gas meters.",
    },
    "Fetch and check data": {
        "sync": "Fetch the last days of an account.",
        "backfill": "Fetch the missing history of an account.",
        "import": "Import downloaded files.",
        "verify": "Compare stored readings and totals; repair them.",
        "replay": "Parse kept answers again, after a bug fix.",
        "quarantine": "Show supplier answers of an unknown form.",
    },
    "Outputs": {
        "outputs": "Send measures to Home Assistant, MQTT and others.",
    },
    "Run": {
        "up": "Run worker, beat, web and Flower.",
        "web": "Serve the web pages and the API.",
        "metrics": "Serve metrics for Prometheus.",
        "health": "Check a container's health.",
        "plan": "Compute whether nightly syncs fit the quota.",
        "migrate": "Update the databases to this version.",
        "migrate-layout": "Move the measures to another layout.",
        "backup": "Back up the registry and the measures.",
        "backup-info": "Check a backup and show what is in it.",
        "restore": "Restore a backup.",
    },
    "Access and secrets": {
        "operators": "Add, list and remove operators.",
        "sessions": "List and end browser sessions.",
        "tokens": "Create, list and revoke API tokens.",
        "proxy-clients": "Create, list and revoke proxy clients.",
        "tenants": "Set up tenants that share an installation.",
        "keys": "Create a key, or rotate the keys.",
        "secrets": "Create an installation's secrets.",
    },
    "Try it out": {
        "demo": "Connect three pretend homes and show a week.",
        "pretend-homes": "Connect three pretend homes.",
        "simulate": "Run a simulator of the suppliers.",
        "drill": "Test fault tolerance: kill parts, then compare.",
    },
}
COMMANDS: Final[Mapping[str, str]] = {name: line for group in GROUPS.values() for name, line in group.items()}
OF_GAS: Final = frozenset({"rights"})  # Shown where gas is set up.
