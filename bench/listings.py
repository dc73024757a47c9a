#!/usr/bin/env python3
"""listings.py [PORT]: an FTP server whose trees exist only as listings, for measuring what long ones cost; prints its port.

A tree /DxFxL/ has D directories and F files on each of its L+1 levels (none below the last); DELE and RMD succeed, files have
four bytes, uploads vanish.
"""

import socket
import socketserver
import sys


class Session(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def say(self, text):
        self.wfile.write((text + "\r\n").encode())

    def entries(self, path):
        """The lines of a listing, some thousand at a time."""
        top, *below = path.strip("/").split("/")
        dirs, files, levels = (int(number) for number in top.split("x"))
        if len(below) < levels:
            yield "".join(f"type=dir; directory-{n:08}\r\n" for n in range(dirs)).encode()
        for start in range(0, files, 10000):
            numbers = range(start, min(start + 10000, files))
            yield "".join(f"type=file;size=4;modify=20200101000000; a-name-of-usual-length-{n:08}.txt\r\n" for n in numbers).encode()

    def transfer(self, verb, path):
        data, _ = self.passive.accept()
        self.passive.close()
        self.say("150 here it comes")
        with data:
            if verb == "MLSD":
                for piece in self.entries(path):
                    data.sendall(piece)
            elif verb == "RETR":
                data.sendall(b"four")
            else:
                while data.recv(65536):
                    pass
        self.say("226 done")

    def handle(self):
        self.say("220 ready")
        for line in self.rfile:
            verb, _, path = line.decode().rstrip("\r\n").partition(" ")
            is_file = path.endswith(".txt")
            if verb == "EPSV":
                self.passive = socket.create_server(("127.0.0.1", 0))
                self.say(f"229 passive (|||{self.passive.getsockname()[1]}|)")
            elif verb == "MLSD" and path.strip("/").split("/")[0].count("x") != 2 or ".applayer" in path:
                self.say("550 not there")
            elif verb in ("MLSD", "RETR", "STOR"):
                self.transfer(verb, path)
            elif verb == "FEAT":
                self.say("211-Features:\r\n MLST type*;size*;modify*;\r\n SIZE\r\n MDTM\r\n REST STREAM\r\n211 End")
            elif verb == "MLST":
                facts = "type=file;size=4;modify=20200101000000" if is_file else "type=dir"
                self.say(f"250-Facts\r\n {facts}; {path}\r\n250 End")
            elif verb == "SIZE":
                self.say("213 4" if is_file else "550 no file")
            elif verb == "MDTM":
                self.say("213 20200101000000")
            elif verb == "DELE" and not is_file:
                self.say("550 a directory")
            elif verb == "MKD":
                self.say("550 is there")
            elif verb in ("REST", "RNFR"):
                self.say("350 go on")
            elif verb == "QUIT":
                return self.say("221 bye")
            elif verb == "PWD":
                self.say('257 "/" is it')
            else:
                self.say({"USER": "331 password", "PASS": "230 in"}.get(verb, "250 ok"))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True


with Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Session) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
