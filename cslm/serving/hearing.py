"""A recording over HTTP becomes the units that the model reads."""

from __future__ import annotations

import asyncio

from cslm.errors import UserError
from cslm.serving.received_audio import read_wav
from cslm.serving.refusals import Refusal, too_slow
from cslm.serving.served_model import HeardQuestion, ServedModel


async def hear_wav(served: ServedModel, data: bytes, name: str) -> HeardQuestion:
    """The units of a WAV file.

    Raises:
        Refusal: a file that is broken, beyond the limits, too short to hold speech, or was not heard in time.
    """
    try:
        async with asyncio.timeout(served.limits.reply_timeout_sec):
            sound = await asyncio.to_thread(read_wav, data, served.limits, name)
            units = await asyncio.get_running_loop().run_in_executor(served.ears, served.processor.units, sound)
    except TimeoutError:
        raise too_slow(served.limits.reply_timeout_sec) from None
    except UserError as error:
        raise Refusal("audio_not_usable", " ".join(str(error).split()), param=name) from error
    if not len(units):
        raise Refusal("audio_not_usable", f"{name} holds no unit of speech: record it again", param=name)
    return HeardQuestion(units)
