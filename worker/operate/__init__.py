"""What the command line calls: looks, decisions and repairs by people."""
