"""What keeps an installation running: start-up, watchdog, metrics, logs of tasks, backup, secrets, health checks."""
