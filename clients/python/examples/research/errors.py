"""What can go wrong in the research tools, as one small family: to catch `ResearchError` is to catch all."""


class ResearchError(Exception):
    """Any failure that these tools announce. The message is one sentence, meant for a person."""


class SourceNotFound(ResearchError):
    """The folder to read from is not there, or is not a folder."""


class UnknownDocument(ResearchError):
    """No document of the corpus has this name."""


class UnreadableDocument(ResearchError):
    """The document cannot be read as text: gone, binary, too large, outside its folder, or nested absurdly deep."""


class SearchUnavailable(ResearchError):
    """The index cannot be used: SQLite lacks FTS5, or the file is damaged or belongs to something else."""
