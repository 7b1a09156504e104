"""Clients of the suppliers: one folder a supplier with the same five files, and what they share."""
