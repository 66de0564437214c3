"""One file per revision; each sets `lock_timeout`, expands before it contracts, and only goes up."""
