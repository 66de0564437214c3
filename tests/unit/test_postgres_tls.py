import pytest

from worker.store.tls import sentence


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("failed: server does not support SSL, but SSL was required", "it speaks no TLS"),
        ("SSL error: certificate verify failed", "has expired, or is of an authority that is not trusted"),
        (
            'server certificate for "a.example" (and 1 other name) does not match host name "db"',
            "for another name: it has a.example, and db was dialled",
        ),
        (
            'root certificate file "/ca.pem" does not exist\nEither provide it',
            "names /ca.pem, and there is no such file",
        ),
    ],
)
def test_what_libpq_says_about_tls_is_one_sentence(said: str, told: str) -> None:
    found = sentence(f'connection to server at "db", port 5432 failed: {said}')
    assert found is not None
    assert told in found
    assert "\n" not in found


def test_what_is_not_about_tls_stays_as_it_was() -> None:
    assert sentence("connection refused") is None
