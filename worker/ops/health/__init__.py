"""Whether Relève can work, and what to do where it can't: one check a subject, for `releve doctor` and `releve health`.

Nothing here mends, migrates, or makes a file or a key: who looks leaves things as they were.  Modules are imported when
their check is asked for, so that a container's health check, every few seconds, loads two or three small ones.
"""
