"""What concerns all accounts together: planning, policy, lanes, incidents, outcomes."""
