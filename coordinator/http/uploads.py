"""Reading an uploaded file out of a request, piece by piece.

Owns the two ways in which a file comes: as the whole body, named by `?name=` or
Content-Disposition, and as the one file part of multipart/form-data (curl -F, slicers, browsers).
Nothing is held but the chunk at hand. Must not know handlers or what becomes of the file.
"""

from __future__ import annotations

from typing import Protocol

import multipart  # type: ignore[import-untyped]  # it ships no types

from coordinator.http.errors import ApiError

PARTS_MAX = 16
FIELD_BYTES_MAX = 4096
OVERHEAD_BYTES_MAX = 64 * 1024
"""What multipart may add to a file: boundaries, headers and small fields."""


class Sink(Protocol):
    """Where the bytes of the file go; `coordinator.files.content.Intake` is one."""

    async def write(self, chunk: bytes) -> None: ...


class RawUpload:
    """The body is the file."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def feed(self, chunk: bytes, sink: Sink) -> None:
        await sink.write(chunk)

    def close(self) -> None:
        return None


class MultipartUpload:
    """The file is a part that has a filename; of other parts only `name` is read."""

    def __init__(self, boundary: str, name: str) -> None:
        self.name = name
        self._parser = multipart.PushMultipartParser(
            boundary, max_segment_count=PARTS_MAX, header_charset="utf8"
        )
        self._part: multipart.MultipartSegment | None = None
        self._seen_file = False
        self._field = bytearray()

    async def feed(self, chunk: bytes, sink: Sink) -> None:
        """Take the next bytes of the body; raises ApiError where they are no such form."""
        try:
            for event in self._parser.parse(chunk):
                await self._take(event, sink)
        except multipart.MultipartError as error:
            raise _bad_form(error) from error

    def close(self) -> None:
        """The body is over; raises ApiError if the form or its file is not there."""
        try:
            self._parser.close()
        except multipart.MultipartError as error:
            raise _bad_form(error) from error
        if not self._seen_file:
            raise ApiError(
                400, "file: the form has no file; send one with curl -F file=@PATH", "file"
            )

    async def _take(self, event: object, sink: Sink) -> None:
        if isinstance(event, multipart.MultipartSegment):
            self._begin(event)
        elif event is None:
            self._end()
        elif isinstance(event, (bytes, bytearray)):
            if self._part is not None and self._part.filename is not None:
                await sink.write(bytes(event))
            else:
                self._field += event
                if len(self._field) > FIELD_BYTES_MAX:
                    raise ApiError(
                        413, f"a field of the form has more than {FIELD_BYTES_MAX} bytes"
                    )

    def _begin(self, part: multipart.MultipartSegment) -> None:
        self._part = part
        self._field.clear()
        if part.filename is None:
            return
        if self._seen_file:
            raise ApiError(400, "file: one file at a time; the form has a second one", "file")
        self._seen_file = True
        self.name = self.name or part.filename

    def _end(self) -> None:
        part, self._part = self._part, None
        if part is not None and part.name == "name" and part.filename is None:
            self.name = self._field.decode("utf-8", "replace")


Upload = RawUpload | MultipartUpload


def upload_of(content_type: str, disposition: str, name: str) -> Upload:
    """What reads this request. `name` is the query's; raises ApiError where nothing names it."""
    kind, options = multipart.parse_options_header(content_type)
    if kind == "multipart/form-data":
        boundary = options.get("boundary", "")
        if not boundary:
            raise ApiError(400, "Content-Type multipart/form-data: its boundary is missing")
        return MultipartUpload(boundary, name)
    if not name and disposition:
        try:
            _, _, filename = multipart.parse_content_disposition(disposition)
        except (multipart.MultipartError, ValueError) as error:
            raise ApiError(400, f"Content-Disposition: {error}", "name") from error
        name = filename or ""
    if not name:
        raise ApiError(400, "name: the file needs one; add ?name=part.gcode to the address", "name")
    return RawUpload(name)


def _bad_form(error: Exception) -> ApiError:
    return ApiError(400, f"the form cannot be read: {error}", "file")
