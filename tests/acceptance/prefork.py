"""The app with a pool of processes, which the command line can't ask for where the settings name another."""

from __future__ import annotations

from worker.app import app

app.conf.worker_pool = "prefork"
