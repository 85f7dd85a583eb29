"""What this machine can do: checks, measurements, and the profile that they lead to."""
