"""A text that is never shown."""

from typing import Never, Self

from pydantic import SecretStr
from typing_extensions import override


class Secret(SecretStr):
    """Masked wherever it is printed, and given to no other process: pickling is refused."""

    def __deepcopy__(self, _memo: object) -> Self:
        """Return itself: it never changes, and pydantic copies defaults."""
        return self

    @override
    def __reduce_ex__(self, _protocol: object) -> Never:
        """Raise TypeError."""
        raise TypeError("a secret cannot be pickled")
