"""`html_sanitize`: markup of which nothing is left that runs, loads or restyles."""

from typing import Annotated, TypedDict

import podium
from podium.sanitizers.html import HtmlSanitizer
from podium.sanitizers.rejection import Rejected
from service.tools.failures import rejected
from service.tools.settings import Text


class CleanHtml(TypedDict):
    """The markup, and whether anything of it was changed."""

    html: str
    changed: bool


def add_html_sanitize(app: podium.Executor, limits: Text) -> None:
    """Serve the tool."""
    # Not declared at the parameter: the service would clean it before, and `changed` would never be true.
    sanitizer = HtmlSanitizer({"max_length": limits.max_document_bytes})

    @app.tool(read_only=True, idempotent=True)
    def html_sanitize(markup: Annotated[str, {"maxLength": limits.max_document_bytes}]) -> CleanHtml:
        """Clean markup: scripts, styles, frames, forms, event handlers and addresses that run something are dropped."""
        try:
            cleaned = sanitizer.check(markup)
        except Rejected as error:
            raise rejected(error, "markup") from None
        return CleanHtml(html=cleaned, changed=cleaned != markup)
