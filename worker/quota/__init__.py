"""The supplier's quota: a ledger shared by all workers, and the gate that closes after a 429."""
