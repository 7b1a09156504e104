"""The client of GRDF ADICT (gas)."""
