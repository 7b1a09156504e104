"""What the supplier answered: answers kept as they came, what nobody had told us of, and what was corrected."""
