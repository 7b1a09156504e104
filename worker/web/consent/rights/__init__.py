"""The pages on which a household declares a right of access, and follows what becomes of it (gas)."""
