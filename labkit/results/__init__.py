"""What an experiment leaves: runs, and tables of them."""
