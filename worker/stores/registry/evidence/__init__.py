"""The chain of evidence in SQL: its rows, its check, and the consents of before."""
