"""The Celery app with a pool of processes; the command line can't ask for one when the settings name another."""

from __future__ import annotations

from worker.app import app

app.conf.worker_pool = "prefork"
