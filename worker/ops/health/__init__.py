"""Health checks: whether Relève can work, and what to do where it can't; for `releve doctor` and `releve health`.

No check changes anything: it repairs nothing, migrates nothing, and creates no file or key.  The module of a check is
imported only when that check runs, so that the health check of a container, every few seconds, loads two or three
small modules.
"""
