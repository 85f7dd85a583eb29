"""Many pictures in one run: folders, resuming, several processes, progress and reports."""
