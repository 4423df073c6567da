"""A server on this machine that answers huggingface_hub as the Hub does, as far as fetching files goes."""

import contextlib
import hashlib
import http.server
import threading

from hugging_face import COMMIT


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        body = self.answer()
        self.wfile.write(body)

    def answer(self):
        """Send the headers of a file, or those of the error that the Hub gives; return the body."""
        repo, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        hub = self.server
        hub.requests.append((self.command, repo, name))
        error = None
        if repo in hub.gated:
            error = 403, "GatedRepo"
        elif repo not in hub.repos:
            error = 401, "RepoNotFound"
        elif revision not in ("main", COMMIT):
            error = 404, "RevisionNotFound"
        elif name not in hub.repos[repo]:
            error = 404, "EntryNotFound"
        body = b"" if error else hub.repos[repo][name]
        self.send_response(error[0] if error else 200)
        if error:
            self.send_header("X-Error-Code", error[1])
        if repo in hub.repos:
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve_hub(monkeypatch, cache):
    """Let huggingface_hub ask a server here, keeping files in `cache`; its `repos` are {repo: {name: bytes}}."""
    from huggingface_hub import close_session, constants

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.repos, server.gated, server.requests = {}, set(), []
        server.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            close_session()
            server.shutdown()
            thread.join()
