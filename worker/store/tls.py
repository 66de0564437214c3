"""Why a TLS connection to Postgres did not come about, in one sentence."""

import re
import socket
import ssl

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict

LOOK_S = 5.0
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # Postgres' protocol: eight bytes, "may we speak TLS?"
_EXPIRED = 10  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED
HAS_EXPIRED = "its certificate has expired"
NOT_TRUSTED = "its certificate is of an authority that is not trusted: see sslrootcert of LEDGER_DATABASE_URL"
_EITHER = f"{HAS_EXPIRED}, or is of an authority that is not trusted: `ledger-worker doctor` says which"
_SAID = {
    "server does not support SSL": "it speaks no TLS, and sslmode of LEDGER_DATABASE_URL asks for it",
    'server certificate for "(.+?)".* does not match host name "(.+?)"': r"its certificate is for another name: it has \1, and \2 was dialled",
    'root certificate file "(.+?)" does not exist': r"sslrootcert of LEDGER_DATABASE_URL names \1, and there is no such file",
    "certificate verify failed": _EITHER,
}


def sentence(said: str) -> str | None:
    """Return what libpq says in the worker's words; None where it is not about TLS."""
    for pattern, words in _SAID.items():
        if found := re.search(pattern, said):
            return f"Postgres cannot be trusted: {found.expand(words)}"
    return None


def looked_closer(sentence_: str, url: str) -> str:
    """Return the sentence with the one reason where libpq has the same words for two; blocks for some seconds at most.

    It begins to speak TLS with the server, as libpq does, and asks OpenSSL. Where that tells nothing the sentence stays.
    """
    if _EITHER not in sentence_:
        return sentence_
    try:
        given = conninfo_to_dict(url)
        context = ssl.create_default_context(cafile=_file(str(given.get("sslrootcert", ""))))
        context.check_hostname = False
        address = (str(given["host"]), int(given.get("port") or 5432))
        with socket.create_connection(address, timeout=LOOK_S) as plain:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) == b"S":
                context.wrap_socket(plain).close()
    except ssl.SSLCertVerificationError as error:
        return sentence_.replace(_EITHER, HAS_EXPIRED if error.verify_code == _EXPIRED else NOT_TRUSTED)
    except (OSError, KeyError, ValueError, Error):
        return sentence_
    return sentence_


def _file(root: str) -> str | None:
    return None if root in {"", "system"} else root
