"""What happens because time passed, each named by what it does to a row.

due      timers whose hour has come become the next turn of their lane
expire   watches over adjustments whose number nobody knows end when the brokerage must have ended them
reclaim  lanes whose owner fell silent are taken back; what it had sent is in doubt
resolve  doubts are told of, and what is parked or was judged by absence is looked at again
"""
