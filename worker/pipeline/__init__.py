"""What happens because a command arrived; the map is in `worker`."""
