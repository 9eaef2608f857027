"""How far a window lies from training and from the windows before it."""
