"""Outputs as they are set up, and the outbox of what is still to be sent to them."""
