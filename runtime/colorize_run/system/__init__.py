"""What the operating system gives: files, processes, hardware, and the output of native libraries."""
