"""latin1_server.py - a server that refuses every connection in German and Latin-1; prints its port of 127.0.0.1."""
import socket
import struct

GSS, SSL = 80877104, 80877103
WORDS = "Passwort-Authentifizierung f\xfcr Benutzer \xbbu\xab fehlgeschlagen".encode("latin1")


def refuse(client):
    """The start of a session, behind refusals of encryption, is answered with an ErrorResponse."""
    code = SSL
    while code in (GSS, SSL):
        length, code = struct.unpack("!II", client.recv(8, socket.MSG_WAITALL))
        client.recv(length - 8, socket.MSG_WAITALL)
        if code in (GSS, SSL):
            client.sendall(b"N")
    fields = b"SFATAL\0VFATAL\0C28P01\0M" + WORDS + b"\0\0"
    client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)


with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        with server.accept()[0] as one:
            try:
                refuse(one)
            except (OSError, struct.error):
                pass
