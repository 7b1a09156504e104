"""Measure stores: one protocol, CouchDB in production and SQL embedded."""
