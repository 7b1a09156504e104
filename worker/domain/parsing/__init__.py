"""Parsers of suppliers' answers: units and time stamps are converted here and nowhere else."""
