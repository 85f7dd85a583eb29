"""Data sets: each module reads the public original or, where there is one, a copy in a single archive."""
