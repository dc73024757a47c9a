"""doq.py PORT CERT KEY: a DNS server over QUIC (RFC 9250) made with aioquic. Every name has one address."""
import asyncio
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived


def answer(query):
    end = query.index(b"\0", 12) + 5
    record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01"
    message = query[:2] + b"\x84\0\0\x01\0\x01\0\0\0\0" + query[12:end] + record
    return len(message).to_bytes(2, "big") + message


class Doq(QuicConnectionProtocol):
    def __init__(self, *args, **words):
        super().__init__(*args, **words)
        self.streams = {}

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            data = self.streams.pop(event.stream_id, b"") + event.data
            if not event.end_stream:
                self.streams[event.stream_id] = data
                return
            self._quic.send_stream_data(event.stream_id, answer(data[2:]), end_stream=True)
            self.transmit()


async def main():
    port, cert, key = sys.argv[1:]
    configuration = QuicConfiguration(alpn_protocols=["doq"], is_client=False)
    configuration.load_cert_chain(cert, key)
    await serve("127.0.0.1", int(port), configuration=configuration, create_protocol=Doq)
    # QUIC has no port that can be tried: a TCP one of the same number says that it serves.
    await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", int(port))
    await asyncio.Event().wait()


asyncio.run(main())
