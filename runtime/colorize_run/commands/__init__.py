"""The commands of `colorize-run`, a module for each family; `colorize_run.cli` puts them together."""
