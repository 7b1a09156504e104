"""The supplier's quota: a ledger shared by all workers, and the gate that a 429 closes."""
