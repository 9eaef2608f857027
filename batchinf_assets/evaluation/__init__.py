"""How good a revision is: golden metrics, drift against training, realised performance."""
