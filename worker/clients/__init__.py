"""Clients of the suppliers: one folder a supplier with the same three files, and what they share."""
