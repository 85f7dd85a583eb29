"""Does "it already has colours" mean what the owner of a picture means? See `benchmarks.prints.__main__`."""
