"""``python -m tests.acceptance.mailing web …``: the web service, which looks for mails to send every half second."""

from __future__ import annotations

from worker.cli.main import main
from worker.web import server

setattr(server, "_NOTICES_EVERY_S", 0.5)  # noqa: B010 - only this process mails so often

if __name__ == "__main__":
    main()
