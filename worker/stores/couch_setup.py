"""What CouchDB's administrator does once: system databases, ours, and a user who may use these five and no more.

For `releve migrate`.  Each step is safe to repeat and says whether it did anything.  Sources: CouchDB 3.5 manual,
"Single node setup" (the system databases are all that is missing after installation), "Authentication database",
"PUT /{db}/_security".
"""

from __future__ import annotations

from typing import Any, Final

from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.couchdb_http import CouchAnswer, CouchServer

SYSTEM_DATABASES: Final = ("_users", "_replicator")


def create_system_database(admin: CouchServer, name: str) -> str:
    """``made`` or ``there``."""
    answer = admin.put(name)
    if answer.ok or answer.status == 412:  # 412: it was there
        return "made" if answer.ok else "there"
    raise _refused(f"database {name} can't be created", answer)


def set_up_user(admin: CouchServer, user: CouchServer, name: str, password: str) -> str:
    """The user ``name``, as whom ``user`` speaks, can log in: ``made``, ``changed`` or ``there``."""
    found = _or_none(admin, "_users", f"org.couchdb.user:{name}")
    if found is not None and _logs_in(user):
        return "there"
    document = {**(found or {"name": name, "type": "user", "roles": []}), "password": password}
    answer = admin.put("_users", f"org.couchdb.user:{name}", body=document)
    if not answer.ok:
        raise _refused(f"user {name} can't be written", answer)
    return "made" if found is None else "changed"


def admit(admin: CouchServer, database: str, name: str) -> str:
    """``name`` may read and write documents of ``database``, nobody else but admins may: ``made`` or ``there``.

    A member can't write design documents, which is where CouchDB runs code.
    """
    wanted = {"admins": {"names": [], "roles": ["_admin"]}, "members": {"names": [name], "roles": []}}
    if _or_none(admin, database, "_security") == wanted:
        return "there"
    answer = admin.put(database, "_security", body=wanted)
    if not answer.ok:
        raise _refused(f"the members of {database} can't be set", answer)
    return "made"


def _or_none(server: CouchServer, *path: str) -> dict[str, Any] | None:
    answer = server.get(*path)
    if answer.status == 404:
        return None
    if not answer.ok or not isinstance(answer.body, dict):
        raise _refused(f"{path[0]} can't be read", answer)
    return answer.body


def _logs_in(user: CouchServer) -> bool:
    try:
        return user.get("_session").ok  # refuses a wrong password, asks for no right
    except StoreUnavailable:  # the admin has just been served, so it is the password
        return False


def _refused(what: str, answer: CouchAnswer) -> WriteRefused:
    return WriteRefused(f"CouchDB: {what}: it answers {answer.status}")
