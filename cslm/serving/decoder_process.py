"""The speech decoder in a process of its own, so that it and the language model do not wait for one interpreter.

Both are many short operations, and each takes Python's lock anew. On two threads of one process each waits for the
other most of the time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections import deque
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cslm.codecs.units import Units
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.decoder.speech_stream import Sound, SpeechStream
from cslm.errors import UserError
from cslm.serving.rows import EngineError


class DecoderProcess:
    """Streams of one decoder. A process that died is started again; the streams that it had are lost."""

    def __init__(self, decoder: SpeechDecoder) -> None:
        """Start it.

        Args:
            decoder: is copied, as it is now.
        """
        self.sample_rate_hz = decoder.sample_rate_hz
        self._decoder = pickle.dumps(decoder)
        self._numbers = itertools.count()
        self._dropped: deque[int] = deque()  # streams that were stopped, of which the process does not know yet
        self._lock = threading.Lock()
        self._start()

    def wait(self) -> None:
        """Until it is ready: it imports what it needs, takes the decoder, and speaks once.

        Raises:
            UserError: it ended before that.
        """
        self._handing_over.join()
        if self._process.poll() is not None:
            raise UserError("the process of the speech decoder ended at its start: what it said stands above")

    def stream(self, voice: str, seed: int = 0) -> DistantStream:
        """Begin an utterance."""
        return DistantStream(self, next(self._numbers), voice, seed)

    def ask(self, what: str, number: int, *given: Any) -> Any:
        """Have something done with a stream.

        Raises:
            EngineError: the process ended, or has not this stream.
            UserError: what the stream raises.
        """
        with self._lock:
            self._handing_over.join()
            try:
                dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
                self._connection.send((dropped, what, number, *given))
                answer = self._connection.recv()
            except (EOFError, OSError):
                self._end()
                self._start()
                raise EngineError("the process of the speech decoder ended: ask again") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def drop(self, number: int) -> None:
        """A stream is needed no more: from any thread, and without waiting."""
        self._dropped.append(number)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        here, there = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cslm.serving.decoder_process", str(there.fileno())],
            pass_fds=[there.fileno()], env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl+C is for the server, which ends it
        )  # fmt: skip
        there.close()
        self._connection = Connection(here.detach())
        self._handing_over = threading.Thread(target=self._hand_over, args=[self._connection], daemon=True)
        self._handing_over.start()

    def _hand_over(self, connection: Connection) -> None:
        """The decoder; the answer comes once the process is ready."""
        with contextlib.suppress(EOFError, OSError):  # who asks next finds out
            connection.send_bytes(self._decoder)
            connection.recv()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._handing_over.join()
        self._connection.close()


class DistantStream:
    """A :class:`SpeechStream` in the process, for one thread."""

    def __init__(self, process: DecoderProcess, number: int, voice: str, seed: int) -> None:
        self._process, self._number, self._given = process, number, (voice, seed)
        self._is_open = self._stopped = False

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second."""
        return self._process.sample_rate_hz

    def push(self, units: Units) -> Sound:
        """As :meth:`SpeechStream.push`."""
        return self._ask("push", units.ids)

    def finish(self) -> Sound:
        """As :meth:`SpeechStream.finish`."""
        return self._ask("finish")

    def stop(self) -> None:
        """Make no further sound: also from another thread. What is being made is made."""
        self._stopped = True
        self._process.drop(self._number)

    def _ask(self, what: str, *given: Any) -> Sound:
        if self._stopped:
            return Sound(np.zeros(0, np.float32), ())
        if not self._is_open:
            self._process.ask("open", self._number, *self._given)
            self._is_open = True
        found: Sound = self._process.ask(what, self._number, *given)
        return found


def _serve(connection: Connection) -> None:
    """Until nobody is there any more."""
    torch.set_num_threads(1)
    decoder = pickle.loads(connection.recv_bytes())  # noqa: S301  (from the process that started this one)
    first = SpeechStream(decoder, decoder.voices[0])  # what is done for the first time takes longer
    first.push(Units(np.zeros((8, len(decoder.card.codebook_sizes)), np.int64)))
    first.finish()
    connection.send(None)
    streams: dict[int, SpeechStream] = {}
    while True:
        dropped, what, number, *given = connection.recv()
        for stopped in dropped:
            streams.pop(stopped, None)
        answer: Any = None
        try:
            if what != "open" and number not in streams:
                answer = EngineError("the process of the speech decoder was started anew: ask again")
            elif what == "open":
                streams[number] = SpeechStream(decoder, *given)
            elif what == "push":
                answer = streams[number].push(Units(*given))
            else:
                answer = streams.pop(number).finish()
        except Exception as error:  # noqa: BLE001  (it is for whoever asked)
            answer = error
        connection.send(answer)


def _main(descriptor: int) -> None:
    try:
        _serve(Connection(descriptor))
    except (EOFError, OSError):  # the server is gone
        return


if __name__ == "__main__":
    _main(int(sys.argv[1]))
