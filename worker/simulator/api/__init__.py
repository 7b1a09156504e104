"""What the simulator answers: consent, tokens, measures, contracts, errors."""
