"""Where documents come from: a folder of the user's, or the documentation that every machine with Python has.

Invariant: a document can be reached only by a name that was listed, so a name from outside opens no other file.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from research.documents import Document
from research.errors import UnknownDocument
from research.folder import FolderLimits, folder_documents
from research.python_documentation import package_documents, standard_library_documents


@dataclass(frozen=True)
class Corpus:
    """The documents that are searched.

    Attributes:
        origin: Where they come from, for a person to read: a folder's path, or a phrase.
        documents: All of them, in order of their names.
        left_out_count: How many files of a known type were passed over, as too large, unreadable or over a limit.
    """

    origin: str
    documents: tuple[Document, ...]
    left_out_count: int = 0

    @cached_property
    def fingerprint(self) -> str:
        """A digest of every document's name, place, size and modification time: equal while the corpus is unchanged."""
        digest = hashlib.sha256()
        for document in self.documents:
            fields = (document.name, document.path, document.media_type, document.size_bytes, document.modified_ns)
            digest.update(repr(tuple(map(str, fields))).encode())
        return digest.hexdigest()

    def document(self, name: str) -> Document:
        """The document of this name. Raises UnknownDocument."""
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownDocument(f"There is no document {name!r} in {self.origin}.") from None

    @cached_property
    def _by_name(self) -> dict[str, Document]:
        return {document.name: document for document in self.documents}


def open_corpus(source: Path | None = None, limits: FolderLimits | None = None) -> Corpus:
    """List the documents below the folder `source`; without one, Python's own documentation on this machine.

    Nothing is read but names, sizes and times, and of packages the first lines. A folder is limited by `limits`.

    Raises:
        SourceNotFound: `source` is not a folder.
    """
    if source is None:
        documents = [*standard_library_documents(), *package_documents()]
        origin, left_out_count = "the documentation of this Python", 0
    else:
        documents, left_out_count = folder_documents(source, limits or FolderLimits())
        origin = str(source)
    documents.sort(key=lambda document: document.name)
    return Corpus(origin, tuple(documents), left_out_count)
