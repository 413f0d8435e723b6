"""The command line, one file for each command; `processors.cli` lists them."""
