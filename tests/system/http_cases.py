#!/usr/bin/python3
"""System tests of the static HTTP server inside the daemon. usage: http_cases.py CASE"""

import hashlib
import pathlib
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import expect, table  # noqa: E402
from lab import STACK_IP4, STACK_IP6, Failure, Lab, wait_until  # noqa: E402
from messages import Messages  # noqa: E402

URI = f"tcp://{STACK_IP4}/80"
SIZES = {"1k": 1024, "900k": 900_000, "10m": 10 << 20}


def make_root(lab):
    www = lab.dir / "www"
    (www / "sub").mkdir(parents=True)
    for name, size in SIZES.items():
        (www / name).write_bytes(hashlib.shake_128(name.encode()).digest(size))
    (www / "sub/index.html").write_text("<p>sub</p>\n")
    (lab.dir / "secret").write_text("not for you")
    (www / "out").symlink_to(lab.dir / "secret")
    return www


def curl(lab, path, *options, address=STACK_IP4):
    host = f"[{address}]" if ":" in address else address
    return lab.run([p.find("curl"), "-sS", "-m", "120", *options, f"http://{host}/{path}"]).stdout


def connect():
    return socket.create_connection((STACK_IP4, 80), timeout=120)


def read_all(s):
    data = bytearray()
    while piece := s.recv(1 << 16):
        data += piece
    return bytes(data)


def servers(lab):
    return table(lab, "show http static server", "servers")


def serve():
    """Files, ranges, conditions and refusals to curl, byte for byte; several servers; figures of them."""
    with Lab() as lab, Messages(lab.dir / "run/api.sock") as m:
        www = make_root(lab)
        lab.cli("http", "static", "server", "www-root", str(www), "uri", URI)
        other = lab.dir / "other"
        other.mkdir()
        (other / "1k").write_text("of the other server")
        expect(m.call("http_static_enable_v5", www_root=str(other), uri=f"tcp://{STACK_IP6}/80", max_age=0,
                      keepalive_timeout=60)["retval"] == 0, "http_static_enable_v5")
        for name in list(SIZES) * 2:  # read, and then from the cache
            expect(curl(lab, name) == (www / name).read_bytes(), f"{name} differs")
        expect(curl(lab, "1k", address=STACK_IP6) == b"of the other server", "the servers are one")
        expect(curl(lab, "10m", "-r", "5000000-5000099") == (www / "10m").read_bytes()[5_000_000:5_000_100], "a range")
        expect(curl(lab, "sub", "-L") == b"<p>sub</p>\n", "a directory, by way of a redirection")

        def status(path, *options):
            return int(curl(lab, path, "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", *options))

        etag = next(line.split(b" ", 1)[1] for line in curl(lab, "1k", "-I").split(b"\r\n") if line.startswith(b"ETag"))
        for want, path, *options in ((200, "1k"), (404, "nothing"), (400, "../secret"), (400, "%2e%2e/secret"), (403, "out"),
                                     (304, "1k", "-H", f"If-None-Match: {etag.decode()}"), (416, "1k", "-r", "1024-"),
                                     (405, "1k", "-d", "x=1"), (501, "1k", "-X", "BREW"), (414, "x" * 9000),
                                     (413, "1k", "-X", "GET", "-d", "x" * 9000)):
            expect(status(path, *options) == want, f"/{path[:40]} {options[:1]}: {status(path, *options)}, not {want}")

        (www / "1k").write_bytes(b"changed")
        wait_until(lambda: curl(lab, "1k") == b"changed", "a changed file is seen")
        (www / "1k").unlink()
        wait_until(lambda: status("1k") == 404, "a file that is gone is seen")

        row = next(r for r in servers(lab) if r["uri"] == URI)
        expect(row["2xx"] > 7 and row["4xx"] > 7 and row["hits"] > 0 and row["bytes sent"] > 2 * sum(SIZES.values()), f"{row}")
        files = {r["path"]: r for r in table(lab, "show http static cache", "files")}
        expect(files["/900k"]["kept"] == "in memory" and files["/10m"]["kept"] == "open", f"{files}")
        detail = next(d for d in m.dump("http_static_server_dump") if d["uri"] == URI)
        expect(detail["requests"] >= row["requests"] and detail["www_root"] == str(www), f"{detail}")
        for words in (f"www-root {www} uri {URI}", f"www-root /nowhere uri tcp://{STACK_IP4}/81", f"uri tcp://{STACK_IP4}/81",
                      f"www-root {www} uri tcp://{STACK_IP4}/81 fifo-size 1", f"delete uri tcp://{STACK_IP4}/81"):
            try:
                lab.cli("http", "static", "server", *words.split())
            except Failure:
                continue
            raise Failure(f"taken: http static server {words}")
        expect(m.call("http_static_server_del", uri=f"tcp://{STACK_IP6}/80")["retval"] == 0, "http_static_server_del")
        expect(len(servers(lab)) == 1, "a server is left")


def clients():
    """Pipelined requests, a request in pieces, and one that does not read while others are served."""
    with Lab() as lab:
        www = make_root(lab)
        lab.cli("http", "static", "server", "www-root", str(www), "uri", URI, "fifo-size", "64k")
        with connect() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.sendall(b"GET /10m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with connect() as s:
                names = ["1k", "900k", "sub/", "nothing", "1k"] * 20
                last = len(names) - 1
                request = "".join(f"GET /{n} HTTP/1.1\r\nHost: x\r\n{'Connection: close' if i == last else 'X: y'}\r\n\r\n"
                                  for i, n in enumerate(names))
                sender = threading.Thread(target=s.sendall, args=(request.encode(),))
                sender.start()
                data = read_all(s)
                sender.join()
            for n in names:
                head, _, data = data.partition(b"\r\n\r\n")
                fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
                length = int(fields[b"Content-Length"])
                body, data = data[:length], data[length:]
                want = b"404 Not Found\n" if n == "nothing" else (www / (n + "index.html" if n == "sub/" else n)).read_bytes()
                expect(body == want, f"the answer for /{n}: {head!r} {body[:60]!r}")
            expect(data == b"", f"{len(data)} bytes behind the last answer")
            with connect() as s:
                for byte in b"GET /1k HTTP/1.0\r\n\r\n":
                    s.sendall(bytes([byte]))
                expect(read_all(s).partition(b"\r\n\r\n")[2] == (www / "1k").read_bytes(), "a request in pieces")
            expect(servers(lab)[0]["bytes sent"] < 10 << 20 << 2, "the slow reader got more than it read")
            expect(read_all(slow).partition(b"\r\n\r\n")[2] == (www / "10m").read_bytes(), "what the slow reader got")
        with connect() as s:  # no smuggling
            s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /1k HTTP/1.1\r\n\r\n")
            answer = read_all(s)
            expect(answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1, f"{answer!r}")
        wait_until(lambda: servers(lab)[0]["open"] == 0, "all connections have ended")


def load():
    """wrk with keep-alive and with a connection a request; a server that is deleted under load, and comes back."""
    with Lab() as lab:
        www = make_root(lab)
        add = ("http", "static", "server", "www-root", str(www), "uri", URI)
        lab.cli(*add)

        class Target:
            def url(self, name):
                return f"http://{STACK_IP4}/{name}"

        for close in (False, True):
            rate = p.wrk(lab, Target(), "1k", seconds=2, close=close, connections=16)
            print(f"1k, {'a connection a request' if close else 'keep-alive'}: {rate:.0f} requests/s")
        for _ in range(3):
            with lab.program([p.find("wrk"), "-t", "1", "-c", "4", "-d", "600s", Target().url("10m")]):
                begun = servers(lab)[0]["requests"]
                wait_until(lambda: servers(lab)[0]["requests"] > begun + 8, "requests are answered")
                lab.cli("http", "static", "server", "delete", "uri", URI)
                expect(servers(lab) == [], "the server is gone")
                lab.cli(*add)
        expect(curl(lab, "10m") == (www / "10m").read_bytes(), "the server that came back")
        expect(lab.daemon.poll() is None, "the daemon has ended")


if __name__ == "__main__":
    laboratory.run_case(serve, clients, load)
