"""Readers of the files that people download: exports of customer sites, of portals and of other tools."""
