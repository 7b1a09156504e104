"""What is counted and how it is called: ``work`` for each worker, ``fleet`` for all of them together."""
