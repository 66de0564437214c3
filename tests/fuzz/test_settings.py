"""Settings: any environment gives settings or one sentence, and no sentence tells a secret."""

import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.commandline import ENV
from tests.fuzz.strategies import texts
from worker.errors import SettingsError
from worker.settings import ALL_NEEDS, Settings, is_secret, variable

NAMES = sorted(Settings.model_fields)
SECRETS = [name for name in NAMES if is_secret(name)]
MARK = "hidden-4711"

strange = texts.filter(lambda text: len(text) < 10_000)
plausible = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "1",
        "1e309",
        "nan",
        "inf",
        "true",
        "none",
        "SASL_SSL",
        "http://h",
        "https://a b",
        "https://[",
        "https://é",
        "a:1,",
        "a:99999",
        "a,b",
        "x" * 250,
    ]
)
given_values = st.dictionaries(st.sampled_from(NAMES), plausible | strange, max_size=4)
given_secrets = st.dictionaries(
    st.sampled_from(SECRETS), st.builds(lambda before, after: before + MARK + after, strange, strange), max_size=3
)
contents = st.none() | st.binary(max_size=40)
secret_contents = contents | st.just(MARK.encode() + b"\n\n") | st.just(b"\xff" + MARK.encode())
given_files = st.builds(
    lambda any_, secret: any_ | secret,
    st.dictionaries(st.sampled_from(NAMES), contents, max_size=3),
    st.dictionaries(st.sampled_from(SECRETS), secret_contents, max_size=3),
)


@given(
    given_values,
    given_secrets,
    given_files,
    st.dictionaries(st.sampled_from(NAMES), strange, max_size=1),
)
@example({"actor": "\udcff"}, {}, {}, {})
@example({"kafka_group_id": "a\x00b"}, {}, {}, {})
@example({}, {"whale_access_token": f"{MARK}\r\nX-Other: 1"}, {}, {})
@example({"kafka_ssl_cafile": "x" * 5_000}, {}, {}, {})
@example({}, {}, {}, {"actor": "a\x00b"})
@example({}, {}, {}, {"actor": "a\nb"})
@example({}, {}, {}, {"actor": "\ud800"})
def test_any_environment_is_settings_or_one_sentence_without_a_secret(
    values: dict[str, str], secrets: dict[str, str], files: dict[str, bytes | None], paths: dict[str, str]
) -> None:
    environ = ENV | {variable(name): value for name, value in (values | secrets).items()}
    environ |= {f"{variable(name)}_FILE": path for name, path in paths.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            environ[f"{variable(name)}_FILE"] = str(path)
            environ.pop(variable(name), None)
            if content is not None:
                path.write_bytes(content)
        try:
            settings = Settings.from_env(environ, needs=ALL_NEEDS)
        except SettingsError as error:
            told = str(error)
            assert told
            assert MARK not in told
            assert len(told.splitlines()) == 1
            told.encode()
            return
    assert MARK not in repr(settings)
    assert MARK not in settings.database_url_masked
    for name in NAMES:
        str(getattr(settings, name)).encode()
    for kept in (settings.actor, settings.kafka_group_id, *settings.secret_values()):
        kept.encode()
        assert "\x00" not in kept
    assert settings.whale_base_url.isascii()
    assert " " not in settings.whale_base_url
