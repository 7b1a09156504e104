"""What a household has arranged among its own accounts."""
