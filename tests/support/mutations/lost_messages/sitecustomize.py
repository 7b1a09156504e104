"""With this folder on its path, a process of Relève never considers a message lost."""

from __future__ import annotations

from worker.sync import claims

claims.LOST_AFTER_S = 1e9
