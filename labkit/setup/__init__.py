"""A fresh machine made ready: the environment and the programs. Standard library only."""
