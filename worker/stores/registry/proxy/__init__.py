"""The consent proxy in SQL: its clients, and what each was given."""
