"""old_page.py FILE CSP URL OUT - serves FILE once, with this Content-Security-Policy, and from then on what URL
serves. Writes its own address to OUT. For tests of a page that refreshes itself."""
import http.server
import os
import sys
import urllib.request

file, csp, url, out = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    first = True

    def do_GET(self):
        if Handler.first:
            body = open(file, "rb").read()
        else:
            body = urllib.request.urlopen(url, timeout=30).read()
        Handler.first = False
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Security-Policy", csp)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
with open(out + ".new", "w") as f:
    f.write("http://127.0.0.1:%d/" % server.server_port)
os.rename(out + ".new", out)
server.serve_forever()
