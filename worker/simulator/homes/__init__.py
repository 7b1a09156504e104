"""What the simulator knows: pretend households and recorded meters."""
