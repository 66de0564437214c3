"""docs/sandbox.md, typed as it stands there."""

import asyncio
import os
import re
from pathlib import Path

from tests.contract.sandbox.test_command_line import CHECKOUT, serving
from tests.support.curl import put_curl
from tests.support.pages import fences

PAGE = (CHECKOUT / "docs/sandbox.md").read_text()
ADDRESS = "http://127.0.0.1:8088"


async def test_what_the_page_says_to_try_does_what_it_shows(tmp_path: Path) -> None:
    serve, tried, *armed = [fence.text for fence in fences(PAGE) if fence.language == "sh"]
    assert serve.split() == ["python", "-m", "sandbox", "serve", "--port", ADDRESS.rpartition(":")[2]]
    assert ADDRESS in tried
    put_curl(tmp_path)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    async with serving("--port", "0") as (_, url):
        program = await asyncio.create_subprocess_exec(
            *("sh", "-c", "".join([tried, *armed]).replace(ADDRESS, url)),
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        told, said = (part.decode() for part in await program.communicate())
    assert program.returncode == 0, said
    assert "RemoteDisconnected" in said, "the answer of the order is dropped"
    [shown] = re.findall(r"(?m)^# (\{.*\})$", tried)
    pattern = re.sub(r"\d{19}", r"\\d{19}", re.escape(shown))
    answers = told.splitlines()
    assert re.fullmatch(pattern, answers[0].replace(", ", ",").replace(": ", ":")), answers
    assert any('"operation": "order.place"' in answer and '"mine"' in answer for answer in answers), answers
