"""The client of Enedis Data Connect (v4, v5 and 2026)."""
