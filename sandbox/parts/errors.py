"""What a person reads when a part cannot be had."""


class PartsError(Exception):
    """A part could not be fetched or started; its text is one sentence, with the last log lines where there are any."""
