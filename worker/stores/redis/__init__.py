"""Redis: progress, claims, locks, heartbeats, incidents, and the embedded server."""
