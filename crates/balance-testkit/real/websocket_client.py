"""A second WebSocket client (the package websockets), for what the first one does not show: messages in fragments by an
iterator, codes of both sides' closes, and a client that announces its end under TLS and still hears the answer.

Arguments: the URL, and the file of the authority that is trusted. Ends with 0, or with what was wrong.
"""

import socket
import ssl
import sys
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Frame, Opcode
from websockets.sync.client import connect
from websockets.uri import parse_uri

PATIENCE = 30
url, authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)


def opened(path):
    return connect(url + path, ssl=context, open_timeout=PATIENCE, close_timeout=PATIENCE, max_size=None)


def fragments():
    with opened("/fragments") as client:
        client.send(part for part in ["one ", "two ", "three"])
        assert client.recv(PATIENCE) == "one two three"
        pieces = [bytes([number]) * 40_000 for number in range(50)]
        client.send(pieces)
        assert client.recv(PATIENCE) == b"".join(pieces)
        assert client.ping("between").wait(PATIENCE)


def codes():
    # The library reads and writes one session of TLS in two threads, which Python's ssl has no lock for before 3.13:
    # on a busy machine its own end was lost once, though the server had said it.
    for attempt in range(3):
        client = opened("/codes")
        client.close(4003, "enough")
        if client.close_code != CloseCode.ABNORMAL_CLOSURE:
            break
        print("again, after", repr(client.recv_exc), file=sys.stderr)
    assert (client.close_code, client.close_reason) == (4003, "enough"), client.close_code
    client = opened("/codes")
    client.send("close 4004 go away")
    try:
        client.recv(PATIENCE)
        sys.exit("it is still open")
    except ConnectionClosed as closed:
        assert (closed.rcvd.code, closed.rcvd.reason) == (4004, "go away"), closed


class HalfClosed:
    """A connection by hand: none of the libraries closes one side alone under TLS."""

    def __init__(self):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), PATIENCE)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=parts.hostname)
        self.run(self.tls.do_handshake)

    def flush(self):
        if self.outgoing.pending:  # behind our end nothing may be sent, not even nothing
            self.socket.sendall(self.outgoing.read())

    def run(self, step):
        """Does a step of TLS, with what has to be sent and received for it."""
        while True:
            try:
                result = step()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                received = self.socket.recv(65536)
                self.incoming.write(received) if received else self.incoming.write_eof()

    def end(self):
        """Announces that we say no more (RFC 8446 §6.1), and closes our side."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # the peer has not said the same yet
        self.flush()
        self.socket.shutdown(socket.SHUT_WR)


def half_close():
    connection = HalfClosed()
    client = ClientProtocol(parse_uri(url + "/half"))
    client.send_request(client.connect())
    message = bytes(range(256)) * 4000
    answer = b""

    def send():
        for data in client.data_to_send():
            if data:
                connection.tls.write(data)
        connection.flush()

    def events():
        client.receive_data(connection.run(lambda: connection.tls.read(65536)))
        return client.events_received()

    send()
    while not events():
        pass
    client.send_binary(message[:1000], fin=False)
    client.send_continuation(message[1000:], fin=True)
    send()
    connection.end()
    while len(answer) < len(message):
        for event in events():
            assert isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT), event
            answer += event.data
    assert answer == message


fragments()
codes()
half_close()
print("all good")
