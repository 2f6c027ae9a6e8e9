"""`html_sanitize`: markup of which nothing is left that runs, loads or restyles."""

from typing import Annotated, TypedDict

import podium
from podium.sanitizers.html import HtmlSanitizer
from podium.sanitizers.rejection import Rejected
from service.tools.failures import INPUT_REJECTED, failed, rejected
from service.tools.html_nesting import DEPTH_MAX, is_nested_too_deeply
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
    def html_sanitize(html: Annotated[str, {"maxLength": limits.max_document_bytes}]) -> CleanHtml:
        """Clean markup: scripts, styles, frames, forms, event handlers and addresses that run something are dropped."""
        if is_nested_too_deeply(html):
            raise failed(INPUT_REJECTED, f"html nests elements more than {DEPTH_MAX} deep", field="html")
        try:
            cleaned = sanitizer.check(html)
        except Rejected as error:
            raise rejected(error, "html") from None
        return CleanHtml(html=cleaned, changed=cleaned != html)
