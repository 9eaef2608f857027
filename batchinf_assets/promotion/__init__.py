"""Whether a candidate may become the champion: measured on the same rows, judged by clauses."""
