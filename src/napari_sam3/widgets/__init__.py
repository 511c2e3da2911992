"""What the user touches: the only Qt."""
