"""server.py PORT PACKAGES [CERTIFICATE KEY]: HTTP/2 by Python's h2, which complains about every frame that breaks a rule.

The paths: see libraries.rs.
"""

import socket
import ssl
import sys
import threading

port, packages, *secured = sys.argv[1:]
sys.path.insert(0, packages)

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived

asked = set()


class Stream:
    def __init__(self, path):
        self.path = path
        self.content = b""
        self.sum = ""
        self.answer = None  # what is still to be sent
        self.trailers = []


class Serving:
    def __init__(self, peer):
        self.peer = peer
        self.connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.streams = {}

    def run(self):
        self.connection.initiate_connection()
        while True:
            self.peer.sendall(self.connection.data_to_send())
            received = self.peer.recv(65536)
            if not received:
                return
            for event in self.connection.receive_data(received):
                self.on_event(event)
            for number in list(self.streams):
                self.send(number)

    def on_event(self, event):
        if isinstance(event, RequestReceived):
            asked.add(self)
            self.streams[event.stream_id] = Stream(dict(event.headers)[":path"])
            self.begin(event.stream_id)
            return
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, DataReceived):
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if stream is None:
            return
        if isinstance(event, DataReceived):
            stream.content += event.data
        elif isinstance(event, TrailersReceived):
            stream.sum = dict(event.headers)["x-sum"]
        elif isinstance(event, StreamEnded):
            self.answer(event.stream_id, stream)
        elif isinstance(event, StreamReset):
            del self.streams[event.stream_id]

    def begin(self, number):
        """What is answered before the content of the request has come."""
        path = self.streams[number].path
        if path == "/early":
            self.connection.send_headers(number, [(":status", "403")])
            self.connection.send_data(number, b"early", end_stream=True)
            self.connection.reset_stream(number, ErrorCodes.NO_ERROR)
        elif path == "/reset":
            self.connection.reset_stream(number, ErrorCodes.INTERNAL_ERROR)
        elif path == "/half":
            self.connection.send_headers(number, [(":status", "200"), ("content-length", "100")])
            self.connection.send_data(number, b"half")
            self.connection.reset_stream(number, ErrorCodes.INTERNAL_ERROR)
        else:
            return
        del self.streams[number]

    def answer(self, number, stream):
        head = [(":status", "200")]
        if stream.path == "/behind":
            stream.answer, stream.trailers = stream.content, [("x-sum", stream.sum)]
        else:
            answers = {"/connections": str(len(asked)).encode(), "/large": b"l" * 3000000, "/echo": stream.content}
            stream.answer = answers[stream.path]
            head.append(("content-length", str(len(stream.answer))))
        self.connection.send_headers(number, head)

    def send(self, number):
        """Sends what the windows let it."""
        stream = self.streams[number]
        if stream.answer is None:
            return
        while stream.answer:
            room = min(self.connection.local_flow_control_window(number), self.connection.max_outbound_frame_size)
            if room == 0:
                return
            self.connection.send_data(number, stream.answer[:room])
            stream.answer = stream.answer[room:]
        if stream.trailers:
            self.connection.send_headers(number, stream.trailers, end_stream=True)
        else:
            self.connection.end_stream(number)
        del self.streams[number]


def serve(peer):
    if secured:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*secured)
        context.set_alpn_protocols(["h2"])
        peer = context.wrap_socket(peer, server_side=True)
    Serving(peer).run()


listening = socket.create_server(("127.0.0.1", int(port)), backlog=64)
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
