"""Readings and documents: windows, totals, completeness, packing, messages."""
