"""Real servers on the loopback: SMTP by aiosmtpd, and HTTP."""

import email
import email.policy
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from aiosmtpd.controller import Controller


class Mail:
    """An SMTP server that keeps what it gets.

    Attributes:
        refusing: it answers with a temporary error.
    """

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.refusing = False
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = int(free.getsockname()[1])
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refusing:
            return "451 try again later"
        self.got.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self._port}?from=night@example.org&to=ana@example.org&mode=insecure"

    def text(self, number: int) -> str:
        part = self.got[number].get_body(("plain", "html"))
        return str(part.get_content()) if part is not None else ""


class Web:
    """An HTTP server that keeps what it gets.

    Attributes:
        status: what it answers.
        hangs: it does not answer at all while this event is not set.
    """

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.gets: list[str] = []
        self.status = 200
        self.go = threading.Event()
        self.go.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                outer.go.wait(60)
                if outer.status < 400:
                    outer.posts.append(json.loads(body))
                self.answer()

            def do_GET(self) -> None:
                outer.gets.append(self.path)
                outer.go.wait(60)
                self.answer()

            def answer(self) -> None:
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"json://ana:s3cretpass@127.0.0.1:{self.port}/tokenABCDEF123"
