"""What outcomes say of published predictions, alone and together with the windows before."""
