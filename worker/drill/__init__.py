"""The drill: real processes on this machine, killed and cut off at random, and the store compared with the truth."""
