"""Whether what is published is what its manifest says, and whether it comes out again."""
