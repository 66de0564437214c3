"""What others would write for the same task, to compare with."""
