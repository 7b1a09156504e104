"""Tables that know a meter by its keyed hash alone."""
