"""The page and what belongs to it: files of this package, read once. No name from a client reaches the disk."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from cslm.serving.refusals import Refusal

PAGE = Path(__file__).parent / "page"
"""Where the files lie."""

INDEX = "index.html"

_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".html": "text/html"}
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "worker-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""What the page may load: nothing from elsewhere, no script or style written into it."""


class PageFiles:
    """Answers with the files of a folder."""

    def __init__(self, folder: Path = PAGE) -> None:
        found = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
        self._files: Mapping[str, tuple[bytes, str]] = {path.name: (path.read_bytes(), _type(path)) for path in found}

    async def answer(self, request: Request) -> Response:
        """One file; ``/`` is the page.

        Raises:
            Refusal: there is none of this name.
        """
        name = request.path_params.get("name") or INDEX
        if name not in self._files:
            raise Refusal("not_found", f"there is nothing at {request.url.path[:60]!r}", 404)
        content, kind = self._files[name]
        headers = {"content-security-policy": _POLICY, "permissions-policy": "microphone=(self)"}
        headers |= {"cross-origin-opener-policy": "same-origin", "cache-control": "no-cache"}
        return Response(content, media_type=kind, headers=headers)


def _type(path: Path) -> str:
    return _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
