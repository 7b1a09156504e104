"""Settings, and the options of Celery."""
