"""Stand in for a container engine: `serve SOCKET` is the engine, anything else its client.

As with the real one, a container is a child of the engine and knows nothing of the client's
environment; the client writes the id before the start, passes signals on, and may be killed.
"""

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from typing import Any

SOCKET = os.environ.get("FAKE_DOCKER_HOST", "")


class Engine:
    """Keep the containers; each is a process in a session of its own."""

    def __init__(self, log: str) -> None:
        self.log = log
        self.lock = threading.Lock()
        self.made: dict[str, list[str]] = {}
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        operation, named = asked["op"], asked.get("id", "")
        with self.lock, open(self.log, "a") as log:
            print(operation, named[:4], file=log)
            if operation == "create":
                named = f"{len(self.made):04d}" + "c" * 60
                self.made[named] = asked["argv"]
                return {"id": named}
            if named not in self.made:
                return {"error": f"Error response from engine: No such container: {named}"}
            if operation == "start":
                self.started[named] = subprocess.Popen(
                    self.made[named], env={"PATH": os.environ["PATH"]}, start_new_session=True
                )
            process = self.started[named]
            if operation == "inspect":
                return {"running": process.poll() is None}
            if operation == "kill" and process.poll() is None:
                os.killpg(process.pid, asked["signal"])
        return {"status": process.wait()} if operation == "wait" else {}


def serve(path: str) -> None:
    engine = Engine(f"{path}.log")

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            answer = engine.answer(json.loads(self.rfile.readline()))
            self.wfile.write(json.dumps(answer).encode())

    socketserver.ThreadingUnixStreamServer.daemon_threads = True
    socketserver.ThreadingUnixStreamServer(path, Handler).serve_forever()


def ask(**asked: Any) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(SOCKET)
        except OSError:
            sys.exit("Cannot connect to the engine. Is it running?")
        link.sendall(json.dumps(asked).encode() + b"\n")
        answer: dict[str, Any] = json.loads(link.makefile().read())
    if "error" in answer:
        sys.exit(answer["error"])
    return answer


def run(words: list[str]) -> None:
    detached, cidfile = False, ""
    while words[0].startswith("-"):
        option, _, value = words.pop(0).partition("=")
        detached = detached or option == "-d"
        if option == "--cidfile":
            cidfile = value or words.pop(0)
    if cidfile and os.path.exists(cidfile):
        print("container ID file found, make sure the other container isn't running")
        sys.exit(125)
    named = ask(op="create", argv=words[1:])["id"]
    if cidfile:
        with open(cidfile, "w") as file:
            file.write(named)
    ask(op="start", id=named)
    if detached:
        return
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(
            signum, lambda signum, frame: ask(op="kill", id=named, signal=signum) and None
        )
    status = ask(op="wait", id=named)["status"]
    sys.exit(status if status >= 0 else 128 - status)


def main() -> None:
    words = sys.argv[1:]
    if words[0] == "serve":
        serve(words[1])
    elif words[0] == "run":
        run(words[1:])
    elif words[0] == "kill":
        ask(op="kill", id=words[1], signal=signal.SIGKILL)
    else:
        assert words[:2] == ["container", "inspect"], words
        print(str(ask(op="inspect", id=words[-1])["running"]).lower())


if __name__ == "__main__":
    main()
