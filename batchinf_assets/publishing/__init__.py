"""Make a judged revision visible, and prove afterwards that what is visible is what was judged."""
