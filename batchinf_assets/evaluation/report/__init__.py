"""What people look at: one self-contained HTML page per window, and one per range of windows."""
