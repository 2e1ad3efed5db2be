"""What nobody meant to log loses its secrets on the way, however it comes to stderr."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECRET = "canary-of-the-net-4711-abcdef"

# What breaks, each in its own way of reaching stderr.
BREAKING = {
    "a line": "logging.getLogger('turnout.x').warning('told %s', SECRET)",
    "another library's line": "logging.getLogger('other').error('told %s', SECRET)",
    "a traceback": """
try:
    raise ValueError(SECRET)
except ValueError:
    logging.getLogger('turnout.x').exception('it broke')
""",
    "an exception with a cause": """
try:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        raise KeyError(SECRET) from error
except KeyError:
    logging.getLogger('turnout.x').exception('it broke')
""",
    "a warning": "import warnings; warnings.warn(f'old: {SECRET}')",
    "an exception that nobody caught": "raise ValueError(SECRET)",
    "a thread": """
import threading
def work(): raise ValueError(SECRET)
thread = threading.Thread(target=work); thread.start(); thread.join()
""",
    "a task of the event loop": """
import asyncio, gc
async def work(): raise ValueError(SECRET)
async def main():
    task = asyncio.create_task(work()); await asyncio.sleep(0.01); del task; gc.collect()
asyncio.run(main())
""",
    "a callback of the event loop": """
import asyncio
def work(): raise ValueError(SECRET)
async def main():
    asyncio.get_running_loop().call_soon(work); await asyncio.sleep(0.01)
asyncio.run(main())
""",
    "a finaliser": """
class Held:
    def __del__(self): raise ValueError(SECRET)
held = Held(); del held
""",
    "a database's error": """
import sqlalchemy
engine = sqlalchemy.create_engine('sqlite://')
try:
    with engine.connect() as it: it.execute(sqlalchemy.text('select :x, :y from no'), {'x': SECRET})
except Exception:
    logging.getLogger('turnout.x').exception('it broke')
""",
    "the address of a request": """
import httpx
try:
    httpx.get(f'http://user:{SECRET}@127.0.0.1:1/?key={SECRET}', trust_env=False)
except httpx.HTTPError as error:
    logging.getLogger('turnout.x').error('%r %r', error, error.request.url, exc_info=error)
""",
}

BEGIN = """
import logging, os
from pathlib import Path
from turnout.server.log import log_to_stderr
from turnout.settings import Settings
SECRET = os.environ['SOME_API_KEY']
log_to_stderr(Settings(Path('.'), environment=dict(os.environ)))
"""


@pytest.mark.parametrize("way", BREAKING)
def test_a_secret_is_cut_out_of(way: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", BEGIN + BREAKING[way]],
        env=os.environ | {"SOME_API_KEY": SECRET},
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
    )
    told = ran.stderr + ran.stdout
    assert b"[removed]" in told
    assert b"canary" not in told, told


FORGED = "\n2026-01-01 00:00:00,000 INFO turnout.server: forged\r\x1b[2J\x85"


@pytest.mark.parametrize(
    "way", ["a line", "a traceback", "an exception that nobody caught", "a thread"]
)
def test_nobodys_text_looks_like_a_line_of_its_own(way: str, tmp_path: Path) -> None:
    script = BEGIN.replace("os.environ['SOME_API_KEY']", repr("told" + FORGED)) + BREAKING[way]
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, timeout=60
    )
    lines = ran.stderr.decode().split("\n")
    (forged,) = [line for line in lines if line.endswith("forged\\u000d\\u001b[2J\\u0085")][-1:]
    assert forged.startswith("    2026")
    assert not [line for line in lines[1:-1] if line.startswith("2026-01-01")]


def test_a_command_that_breaks_files_a_traceback_without_secrets(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from turnout.cli import dispatch, main\n"
        "def broken(*_): raise ValueError('told ' + __import__('os').environ['SOME_API_KEY'])\n"
        "dispatch._overview = broken\n"
        "sys.exit(main(['--help']))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"SOME_API_KEY": SECRET, "TMPDIR": str(tmp_path)},
        capture_output=True,
        timeout=60,
    )
    (filed,) = tmp_path.glob("*.traceback")
    for told in (ran.stderr, filed.read_bytes()):
        assert b"[removed]" in told
        assert b"canary" not in told
