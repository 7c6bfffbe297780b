"""What a WSGI application sees of each request, written to a log."""

import os

LOG = os.open("@DIRECTORY@/seen.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def escape(data):
    """As nginx and Apache write what is not visible ASCII."""
    plain = lambda byte: 0x20 <= byte < 0x7F and byte not in (0x22, 0x5C)
    return "".join(chr(byte) if plain(byte) else f"\\x{byte:02x}" for byte in data) or "-"


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    names = ["HTTP_X_REQUEST_ID", "REQUEST_METHOD", "RAW_URI", "HTTP_HOST", "HTTP_X_MARKER"]
    seen = [escape(environ.get(name, "").encode("latin-1")) for name in names]
    os.write(LOG, ("\t".join([*seen, "-", escape(body)]) + "\n").encode())
    fields = [("Content-Length", "0")]
    if "HTTP_X_MARKER" in environ:
        fields.append(("X-Seen", environ["HTTP_X_MARKER"]))
    start_response("200 OK", fields)
    return [b""]
