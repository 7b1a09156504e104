"""Clients of the suppliers: for each supplier a folder with the same three files, and the code that they share."""
