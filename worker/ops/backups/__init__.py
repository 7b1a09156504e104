"""Backups: sealed archives of registry and measures, how they are created, and how they are restored."""
