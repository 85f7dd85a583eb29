"""What a network is made of, what happens inside it, and what finished runs reached."""
