"""An S3 protocol server over HTTP, in a process of its own: vLLM looks into every module of its process, and moto's do not like that."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ADDRESS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@contextmanager
def serve_s3() -> Iterator[dict[str, str]]:
    """Start an empty server; gives the environment variables that lead S3 clients to it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert server.stdout is not None
    reader, said = None, []
    try:
        for line in server.stdout:
            said.append(line)
            if found := _ADDRESS.search(line):
                break
        else:
            raise RuntimeError(f"The S3 server did not start: {''.join(said)}")
        # it writes a line a request: a pipe that nobody reads fills, and the server waits
        reader = threading.Thread(target=server.stdout.read, daemon=True)
        reader.start()
        yield {
            "AWS_ENDPOINT_URL": found[1],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()
        if reader:
            reader.join()
        server.stdout.close()
