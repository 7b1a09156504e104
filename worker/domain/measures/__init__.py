"""Readings and documents: windows, filtering, totals, completeness, packing, messages."""
