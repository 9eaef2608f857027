"""Models: verified artifacts, their training profile, and the registry that names the champion."""
