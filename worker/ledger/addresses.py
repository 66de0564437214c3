"""Addresses of the parts as settings give them: checked here, and shown without their passwords; pure.

What is refused is refused before a driver sees it, in words that do not quote it: it may be a secret in the wrong place.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from worker.ledger.secret import Secret

MASK = "******"
PORT_MAX = 65_535
# Strict about @, / and what follows a host, so that no part of a password can pass for a host and be shown.
_database_url = re.compile(
    r"postgresql://([^/@?#\s]+@)?(\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[^/@?#\s:,\[\]]*)(:(?P<port>[0-9]{1,5}))?"
    r"(/[^/@?#\s]*)?(\?[^@#\s]*)?"
).fullmatch
_server = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(?P<port>[0-9]{1,5})").fullmatch
_proxy_url = re.compile(
    r"http://((?P<user>[^:@/?#\s]+):(?P<password>[^@/?#\s]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+):(?P<port>[0-9]{1,5})/?",
    re.ASCII,
).fullmatch
_password_in_query = re.compile(r"(?<=password=)[^&]+")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that makes connections for us; `login` is user:password as HTTP sends them, before base64."""

    host: str
    port: int
    login: Secret | None

    @property
    def address(self) -> str:
        """Host and port, as they are shown."""
        return host_and_port(self.host, self.port)


def host_and_port(host: str, port: int) -> str:
    """Return host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_proxy(url: str) -> Proxy:
    """Return the proxy that a URL names; ValueError where it names none."""
    found = _proxy_url(url)
    user, password = (unquote(found[name] or "") for name in ("user", "password")) if found else ("", "")
    if not found or not _is_port(found["port"]) or ":" in user:
        raise ValueError(
            "is not of the form http://[user:password@]host:port (percent-encode @ / ? # in user and password; a user has no colon)"
        )
    login = Secret(f"{user}:{password}") if user else None
    return Proxy(found["host"].strip("[]"), int(found["port"]), login)


def checked_servers(text: str) -> str:
    """Return a list of host:port without blanks; ValueError where it is none."""
    servers = [server.strip() for server in text.split(",")] if text else []
    if not all((found := _server(server)) and _is_port(found["port"]) for server in servers):
        raise ValueError(f"is not a list of host:port, each port from 1 to {PORT_MAX}")
    return ",".join(servers)


def checked_base_url(text: str) -> str:
    """Return the URL without the slash at its end; ValueError where it has more than scheme, host and port."""
    if not text:
        return text
    try:
        parts = urlsplit(text)
        shaped = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        shaped = False
        parts = urlsplit("")
    # Without blanks, and an international name in its ASCII form: it goes into a header as it is.
    if (
        not shaped
        or not re.fullmatch("[!-~]+", parts.netloc)
        or parts.path not in {"", "/"}
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise ValueError("is not of the form https://host[:port], without path, query or user")
    return f"{parts.scheme}://{parts.netloc}"


def check_database_url(text: str) -> None:
    """Raise ValueError where it is no URL of one host."""
    found = _database_url(text)
    if text and not (found and (found["port"] is None or _is_port(found["port"]))):
        raise ValueError(
            "is not of the form postgresql://user:password@host:port/name (one host, its port a number; percent-encode @ / ? # in user and password)"
        )


def mask_url(url: str) -> str:
    """Return a database URL with every password in it replaced."""
    head, at, rest = _password_in_query.sub(MASK, url).partition("://")
    authority, slash, tail = rest.partition("/")
    user, has_user, hosts = authority.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{name}:{MASK}" if colon else user
    return f"{head}{at}{shown}{has_user}{hosts}{slash}{tail}"


def url_passwords(url: str) -> set[str]:
    """Return every password in a database URL, as it is spelled there."""
    authority = url.partition("://")[2].partition("/")[0]
    return {authority.rpartition("@")[0].partition(":")[2], *_password_in_query.findall(url)}


def crosses_the_network_bare(base_url: str, proxy_url: str = "") -> bool:
    """Say whether what is sent there could be read on the way: http:// to another host than loopback, or by way of one."""
    parts = urlsplit(base_url)
    hosts = [parts.hostname or "", *([read_proxy(proxy_url).host] if proxy_url else [])]
    return parts.scheme == "http" and not all(map(is_loopback, hosts))


def is_loopback(host: str) -> bool:
    """Say whether the host is this machine by itself, by address or as `localhost`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_port(digits: str) -> bool:
    return 0 < int(digits) <= PORT_MAX
