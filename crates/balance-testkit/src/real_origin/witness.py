"""What Python's http.server sees of each request, written to a log."""

import http.server
import os

LOG = os.open("@DIRECTORY@/seen.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def escape(data):
    """As nginx and Apache write what is not visible ASCII."""
    plain = lambda byte: 0x20 <= byte < 0x7F and byte not in (0x22, 0x5C)
    return "".join(chr(byte) if plain(byte) else f"\\x{byte:02x}" for byte in data) or "-"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self):
        body = self.read_chunks() if self.headers["Transfer-Encoding"] else self.read_length()
        if body is None:
            self.close_connection = True
            return
        field = lambda name: escape(", ".join(self.headers.get_all(name) or []).encode("latin-1"))
        # The path would be without its double slashes.
        target = self.requestline.split()[1].encode("latin-1")
        seen = [field("X-Request-ID"), escape(self.command.encode("latin-1")), escape(target)]
        seen += [field("Host"), field("X-Marker"), "-", escape(body)]
        os.write(LOG, ("\t".join(seen) + "\n").encode())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        if self.headers["X-Marker"]:
            self.send_header("X-Seen", self.headers["X-Marker"])
        self.end_headers()

    def read_length(self):
        length = int(self.headers["Content-Length"] or 0)
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def read_chunks(self):
        """The coding is left to the handler; as simple as its sender lets it be."""
        body = b""
        while True:
            size = self.rfile.readline().rstrip(b"\r\n")
            if not size:
                return None
            size = int(size, 16)
            chunk = self.rfile.read(size + 2)
            if len(chunk) != size + 2 or chunk[size:] != b"\r\n":
                return None
            if size == 0:
                return body
            body += chunk[:size]

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", @PORT@), Handler).serve_forever()
