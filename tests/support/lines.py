"""Lines between a client and a server that can be cut."""

import contextlib
import socket
import threading
from types import TracebackType


class CutLine:
    """A TCP proxy that loses as many answers as it is told, after the server has given them.

    ``lost`` has the beginnings of those answers.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.answers_to_lose = 0
        self.lost: list[bytes] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="cut line", daemon=True).start()

    def __enter__(self) -> "CutLine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut every connection there is."""
        with self._lock:
            for line in self._open:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._target) as server:
            with self._lock:
                self._open |= {client, server}
            up = threading.Thread(target=self._pump, args=(client, server), daemon=True)
            up.start()
            try:
                self._answer(server, client)
            finally:
                # Closing alone would not end a connection that another thread reads from.
                for line in (client, server):
                    with contextlib.suppress(OSError):
                        line.shutdown(socket.SHUT_RDWR)
                up.join(5)
                with self._lock:
                    self._open -= {client, server}

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        while data := server.recv(65536):
            with self._lock:
                if self.answers_to_lose > 0:
                    self.answers_to_lose -= 1
                    self.lost.append(data)
                    return
            client.sendall(data)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
