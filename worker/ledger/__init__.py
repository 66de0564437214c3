"""What is decided, apart from where it is stored or sent: pure functions and values, no I/O, no clock, no asyncio."""
