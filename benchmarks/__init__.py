"""How fast the worker is and what memory it takes, as ratios of things that run in one go on one machine.

__main__     what is measured, in which sequence, and the table
commands     the commands, and the same as requests
bare         calls per second of a signed aiohttp client that does nothing else: what the worker is compared with
end_to_end   commands per second through a running worker, produce to outcome consumed
queued       memory of one worker in front of many queued commands
running      the worker as a process, on a database and topics of its own
usage        seconds of processor and bytes of memory of other processes
table        medians, and the file of results
"""
