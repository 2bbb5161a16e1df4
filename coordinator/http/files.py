"""Files: upload, list, show, fetch, forget.

Owns the answers about stored G-code. What is inside a file is coordinator/files' to say.
"""

from __future__ import annotations

from msgspec import Struct
from tornado.ioloop import IOLoop

from coordinator.core.requests import NotFound
from coordinator.files import names
from coordinator.files.content import Intake
from coordinator.files.extents import Analysis
from coordinator.files.inspection import Finding, cautions
from coordinator.files.metadata import Metadata, thumbnail_bytes
from coordinator.http import downloads
from coordinator.http.base import Answer, ApiHandler, Parts
from coordinator.http.errors import answer_of
from coordinator.http.filing import analysis_of, metadata_of, no_file
from coordinator.http.operations import operation
from coordinator.http.uploads import OVERHEAD_BYTES_MAX, MultipartUpload, Upload, upload_of
from coordinator.lists import StoredFile

UPLOAD_TIMEOUT_S = 3600.0
PICTURES = {"png": "image/png", "jpg": "image/jpeg", "qoi": "image/qoi"}


class ThumbnailView(Struct, frozen=True):
    """A picture in the file; `url` is a path on this server."""

    width: int
    height: int
    format: str
    size_bytes: int
    url: str


class FileView(Struct, frozen=True, kw_only=True):
    """A stored file. `title` as people call it, `name` as hosts do. `cautions` refuse nothing."""

    sha256: str
    title: str
    name: str
    size_bytes: int
    created_at: float
    url: str
    thumbnails: tuple[ThumbnailView, ...] = ()
    cautions: tuple[Finding, ...] = ()
    metadata: Metadata | None = None
    analysis: Analysis | None = None


class FileAnswer(Answer):
    """One file. `is_new` is false when the same bytes were stored before."""

    file: FileView
    is_new: bool = False


class FilesAnswer(Answer):
    """One page of files, newest first; `cursor` asks for the next one, empty: the last."""

    files: list[FileView]
    cursor: str = ""


class UploadQuery(Struct, forbid_unknown_fields=True):
    """`name`: what people call the file; it ends in .gcode, .gco or .g."""

    name: str = ""


class FilesQuery(Struct, forbid_unknown_fields=True):
    """`search`: part of a title."""

    search: str = ""
    limit: int = 100
    cursor: str = ""


class FilesHandler(ApiHandler):
    """/files. The upload is written to disk as it arrives, at the pace of the disk."""

    def initialize(self, parts: Parts) -> None:
        super().initialize(parts)
        self._upload: Upload | None = None
        self._intake: Intake | None = None
        self._failure: Exception | None = None

    async def prepare(self) -> None:
        await super().prepare()
        if self.request.method != "POST":
            return
        announced = self.content_length()
        self._upload = upload_of(
            self.request.headers.get("Content-Type", ""),
            self.request.headers.get("Content-Disposition", ""),
            self.query(UploadQuery).name,
        )
        if self._upload.name:
            names.display_name(self._upload.name)  # refused before its bytes come
        is_form = isinstance(self._upload, MultipartUpload)
        content = self.services.content
        # A form is a little longer than its file; one that is far longer is refused at once.
        fits = (announced or 0) <= content.file_bytes_max + OVERHEAD_BYTES_MAX
        self._intake = await content.begin(None if is_form and fits else announced)
        self.limit_body(content.file_bytes_max + OVERHEAD_BYTES_MAX, UPLOAD_TIMEOUT_S)

    def check_length(self) -> None:
        if self.request.method != "POST":
            super().check_length()

    async def data_received(self, chunk: bytes) -> None:
        if self._upload is None or self._intake is None:
            super().data_received(chunk)
            return
        if self._failure is not None:
            return
        try:
            await self._upload.feed(chunk, self._intake)
        except Exception as error:  # raised here it would only close the connection, unanswered
            self._failure = error
            await self._intake.abort()
            self.send_error(answer_of(error).status, exc_info=(type(error), error, None))

    @operation(status=201, answer=FileAnswer, query=UploadQuery, takes_file=True)
    async def post(self) -> None:
        """Upload a G-code file: as the body, or as the file of a multipart form."""
        if self._upload is None or self._intake is None or self._finished:
            return
        try:
            self._upload.close()
            arrived = await self._intake.finish()
        finally:
            await self._intake.abort()
        file, is_new = await self.filing.take_in(arrived, self._upload.name)
        if is_new:
            text = f"{file.title} {file.sha256}"
            await self.services.people.record("file_added", self.who, text)
        self.answer(FileAnswer(file=file_view(file), is_new=is_new), 201 if is_new else 200)

    @operation(answer=FilesAnswer, query=FilesQuery)
    async def get(self) -> None:
        """List stored files, newest first."""
        asked = self.query(FilesQuery)
        page = await self.services.store.reads.list_files(asked.search, asked.limit, asked.cursor)
        files = [file_view(file) for file in page.files]
        self.answer(FilesAnswer(files=files, cursor=page.cursor))

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._intake is not None:
            IOLoop.current().add_callback(self._intake.abort)


class FileHandler(ApiHandler):
    """/files/{sha256}."""

    @operation(answer=FileAnswer)
    async def get(self, sha256: str) -> None:
        """Show a file: what its slicer says, what its moves do, its pictures."""
        self.answer(FileAnswer(file=file_view(await stored(self, sha256))))

    @operation(answer=Answer)
    async def delete(self, sha256: str) -> None:
        """Forget a file that no unfinished job needs."""
        await self.filing.forget(sha256)
        await self.services.people.record("file_removed", self.who, sha256)
        self.answer(Answer())


class FileContentHandler(ApiHandler):
    """/files/{sha256}/content."""

    @operation(media="text/x.gcode")
    async def get(self, sha256: str) -> None:
        """Fetch a file's bytes, whole or by range."""
        await downloads.send(self, self.services.content, sha256)

    @operation(media="text/x.gcode")
    async def head(self, sha256: str) -> None:
        """Size and ETag of a file's bytes."""
        await downloads.send(self, self.services.content, sha256, head_only=True)


class ThumbnailHandler(ApiHandler):
    """/files/{sha256}/thumbnails/{number}."""

    @operation(media="image/*")
    async def get(self, sha256: str, number: str) -> None:
        """Fetch one of a file's pictures; they are numbered from 0."""
        metadata = metadata_of(await stored(self, sha256))
        thumbnails = metadata.thumbnails if metadata is not None else ()
        if int(number) >= len(thumbnails):
            raise NotFound(f"thumbnail {number}: the file has {len(thumbnails)}, counted from 0")
        thumbnail = thumbnails[int(number)]
        content = self.services.content
        picture = await content.in_thread(thumbnail_bytes, content.path_of(sha256), thumbnail)
        self.set_header("Content-Type", PICTURES[thumbnail.format])
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.finish(picture)


async def stored(handler: ApiHandler, sha256: str) -> StoredFile:
    """The row of a file; raises NotFound."""
    file = await handler.services.store.reads.get_file(sha256)
    if file is None:
        raise no_file(sha256)
    return file


def file_view(file: StoredFile) -> FileView:
    """The view of a stored file."""
    metadata, analysis = metadata_of(file), analysis_of(file)
    base = f"/api/v1/files/{file.sha256}"
    thumbnails = tuple(
        ThumbnailView(t.width, t.height, t.format, t.size, f"{base}/thumbnails/{number}")
        for number, t in enumerate(metadata.thumbnails if metadata is not None else ())
    )
    both = metadata is not None and analysis is not None
    return FileView(
        sha256=file.sha256,
        title=file.title,
        name=file.name,
        size_bytes=file.size_bytes,
        created_at=file.created_at,
        url=f"{base}/content",
        thumbnails=thumbnails,
        cautions=cautions(metadata, analysis) if both else (),  # type: ignore[arg-type]
        metadata=metadata,
        analysis=analysis,
    )
