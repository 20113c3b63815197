"""Servers of the tests' own, on free ports: one that speaks HTTP, and one that says anything at all."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def server(answer):
    """Something on a port of its own that reads a greeting and gives ``answer`` (None: nothing, ever)."""
    listening = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                accepted.append(client)
                client.recv(64)
                if answer is not None:
                    client.sendall(answer)
                    client.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for client in accepted:
            client.close()
        thread.join(5)


class Server:
    """A small HTTP server that answers as it is told, and counts how often it was asked."""

    def __init__(self, answer):
        server = self
        self.requests = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.command)
                with contextlib.suppress(OSError):
                    answer(self, len(server.requests))

            do_DELETE = do_GET

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()


def saying(status, body):
    def answer(handler, _):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def cut_off(handler, _):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"rabbitmq_version": ')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
