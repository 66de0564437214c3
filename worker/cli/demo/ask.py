"""Plain HTTP to this machine: the sandbox's own unsigned endpoints and the worker's health. No call to a brokerage."""

import asyncio
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from worker.errors import PartUnavailableError

DEADLINE_S = 10.0


async def ask(url: str, path: str, body: object = None) -> tuple[int, Any]:
    """GET `path`, or POST `body` as JSON where it is given; returns the status and the JSON value answered.

    No proxy of the environment is used. Raises PartUnavailableError when nothing answers, or not in JSON.
    """
    return await asyncio.to_thread(_ask, url, path, body)


def _ask(url: str, path: str, body: object) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=DEADLINE_S)
    try:
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PartUnavailableError(f"{url}{path} does not answer: {error}") from error
    finally:
        connection.close()
