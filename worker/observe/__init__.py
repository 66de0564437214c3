"""What the worker shows of itself: logs on stderr, metrics and health over HTTP; never a secret, never stdout."""
