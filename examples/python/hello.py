"""Writes a block of a share and reads it back, with nothing but Python's own library and docs/protocol.md.

    python3 examples/python/hello.py ringwarden-data/ringwarden.sock alice nvme0
    ringwarden run --tenant alice --device nvme0 -- python3 examples/python/hello.py
"""

import base64
import contextlib
import hashlib
import os
import socket
import struct
import sys

READ, WRITE, FLUSH = 1, 2, 3
INLINE = 2
# Request entry and completion, little-endian, as the tables of the documentation have them.
ENTRY = struct.Struct("<BBHIQQIIQIIH14x")
COMPLETION = struct.Struct("<QHHHHQII")


class Refused(Exception):
    """The server said no."""


# ---- msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md): the part that the protocol uses -------------------------------------------


def pack(value):
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return bytes([value]) if value < 128 else struct.pack(">BQ", 0xCF, value)
    if isinstance(value, str):
        text = value.encode()
        return struct.pack(">BH", 0xDA, len(text)) + text
    if isinstance(value, bytes):
        return struct.pack(">BI", 0xC6, len(value)) + value
    if isinstance(value, dict):
        return struct.pack(">BH", 0xDE, len(value)) + b"".join(pack(part) for pair in value.items() for part in pair)
    raise TypeError(f"the protocol has no {type(value).__name__}")


# Of each type byte: how a number, or the length of what follows, is packed.
NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
LENGTHS = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}


class Unpacker:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, length):
        part = self.data[self.at : self.at + length]
        if len(part) < length:
            raise ValueError("the message ends too early")
        self.at += length
        return part

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self):
        kind = self.take(1)[0]
        if kind < 0x80:
            return kind
        if kind in (0xC2, 0xC3):
            return kind == 0xC3
        if kind in NUMBERS:
            # Above 2**32-1 the server sends float64: whole all the same.
            return int(self.number(NUMBERS[kind]))
        if kind < 0xC0:
            length = kind & (0x1F if kind >= 0xA0 else 0x0F)
        elif kind in LENGTHS:
            length = self.number(LENGTHS[kind])
        else:
            raise ValueError(f"the protocol has no msgpack type {kind:#x}")
        if kind < 0x90 or kind in (0xDE, 0xDF):
            return {self.value(): self.value() for _ in range(length)}
        if kind < 0xA0 or kind in (0xDC, 0xDD):
            return [self.value() for _ in range(length)]
        if kind in (0xC4, 0xC5, 0xC6):
            return self.take(length)
        return self.take(length).decode()


# ---- WebSocket (RFC 6455) over a Unix socket ----------------------------------------------------------------------------------------------------

CONTINUATION, BINARY, CLOSE, PING, PONG = 0, 2, 8, 9, 10


class Connection:
    def __init__(self, connected):
        self.socket = connected
        self.file = self.socket.makefile("rb")

    @classmethod
    def open(cls, path):
        connection = cls(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        connection.socket.connect(path)
        connection.handshake()
        return connection

    def handshake(self):
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: ringwarden.v1\r\n\r\n".encode()
        )
        status = self.file.readline().decode().strip()
        headers = {}
        for line in iter(lambda: self.file.readline().decode().strip(), ""):
            name, _, text = line.partition(":")
            headers[name.lower()] = text.strip()
        expected = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        if " 101 " not in status + " " or headers.get("sec-websocket-accept") != expected:
            raise ConnectionError(f"not a Ringwarden server: {status}")

    def send(self, opcode, data):
        # A client masks what it sends.
        mask = os.urandom(4)
        if len(data) < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | len(data))
        elif len(data) < 2**16:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, len(data))
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, len(data))
        pattern = (mask * (len(data) // 4 + 1))[: len(data)]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")).to_bytes(len(data), "big")
        self.socket.sendall(head + mask + masked)

    def read(self, length):
        data = self.file.read(length)
        if len(data) < length:
            raise ConnectionError("the server closed the connection")
        return data

    def receive(self):
        """The next message, which may come in several frames. Pings are answered on the way."""
        message = b""
        while True:
            first, length = self.read(2)
            if length == 126:
                (length,) = struct.unpack(">H", self.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.read(8))
            data = self.read(length)
            opcode = first & 15
            if opcode == CLOSE:
                raise ConnectionError(f"the server ended the session: {data[2:].decode()}")
            if opcode == PING:
                self.send(PONG, data)
            if opcode in (CONTINUATION, BINARY):
                message += data
                if first & 0x80:
                    return message

    def close(self):
        with contextlib.suppress(OSError):
            self.send(CLOSE, struct.pack(">H", 1000))
        self.file.close()
        self.socket.close()


# ---- Session ------------------------------------------------------------------------------------------------------------------------------------


class Session:
    def __init__(self, connection):
        self.connection = connection
        self.last_id = 0
        self.last_tag = 0

    @classmethod
    def begin(cls, connection, tenant, device):
        """A session with a lease on the device."""
        session = cls(connection)
        session.ask("hello", version=1, tenant=tenant, client="hello.py")
        session.ask("setDomain")
        return session, session.ask("openDevice", device=device, mode="shared", queues="shared")

    @classmethod
    def inherit(cls, connection):
        """The session that the launcher began: its requests had the ids 1 to 3, and their answers wait to be read."""
        session = cls(connection)
        return session, [session.answer(id) for id in (1, 2, 3)][-1]

    def receive(self):
        message = Unpacker(self.connection.receive()).value()
        if message["type"] == "error":
            raise Refused(f"{message['name']}: {message['message']} ({message['field']}: {message['value']})")
        return message

    def ask(self, request, **fields):
        """Sends a request and waits for its answer."""
        id = self.last_id + 1
        self.connection.send(BINARY, pack({"type": request, "id": id, **fields}))
        return self.answer(id)

    def answer(self, id):
        """Waits for an answer. Events and the like are passed over."""
        self.last_id = id
        while True:
            message = self.receive()
            if message["type"] == "answer" and message["id"] == id:
                return message

    def submit(self, lease, queue, operation, lba=0, blocks=0, data=None):
        """One request, its data with the message. Returns what a read has read."""
        self.last_tag += 1
        share = lease["shares"][0]
        length = blocks * share["blockBytes"]
        flags = INLINE if blocks > 0 else 0
        entry = ENTRY.pack(
            operation, flags, share["index"], lease["generation"], self.last_tag, lba, blocks, 0, 0, length, lease["lease"], queue
        )
        message = {"type": "submit", "lease": lease["lease"], "queue": queue, "entries": entry}
        if data is not None:
            message["data"] = data
        self.connection.send(BINARY, pack(message))
        while True:
            answer = self.receive()
            if answer["type"] == "completions":
                break
        tag, code, field, status, _queue, value, _generation, _bytes = COMPLETION.unpack(answer["entries"])
        if tag != self.last_tag or code != 0:
            raise Refused(f"request {tag} ended with code {code} (field {field}, value {value}, status {status:#x})")
        return answer.get("data")


def hello(session, lease):
    queue = session.ask("openQueue", lease=lease["lease"], entries=16)["queue"]
    share = lease["shares"][0]

    text = b"hello, ring, says Python"
    session.submit(lease, queue, WRITE, lba=3, blocks=1, data=text.ljust(share["blockBytes"], b"\0"))
    session.submit(lease, queue, FLUSH)
    block = session.submit(lease, queue, READ, lba=3, blocks=1)
    print(f"block 3 of {share['blocks']} says: {block.rstrip(bytes(1)).decode()}")

    try:
        session.submit(lease, queue, READ, lba=share["blocks"], blocks=1)
    except Refused as refusal:
        print(f"one block further than there are: {refusal}")


def inherited():
    """The descriptor that `ringwarden run` left to this process; None without it. The programs that this one starts do not get it."""
    if os.environ.get("RINGWARDEN_PID") != str(os.getpid()):
        return None
    del os.environ["RINGWARDEN_PID"]
    descriptor = int(os.environ.pop("RINGWARDEN_FD"))
    os.set_inheritable(descriptor, False)
    return descriptor


def main():
    descriptor = inherited() if len(sys.argv) == 1 else None
    if descriptor is None and len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} SOCKET TENANT DEVICE\n       ringwarden run --device DEVICE -- {sys.argv[0]}")
    try:
        connection = Connection.open(sys.argv[1]) if descriptor is None else Connection(socket.socket(fileno=descriptor))
        with contextlib.closing(connection):
            hello(*(Session.begin(connection, *sys.argv[2:]) if descriptor is None else Session.inherit(connection)))
    except (Refused, OSError) as error:
        sys.exit(f"hello.py: {error}")


if __name__ == "__main__":
    main()
