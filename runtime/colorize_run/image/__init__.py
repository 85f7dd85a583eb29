"""A picture file: its formats, how it is decoded and encoded, its metadata and colour profiles."""
