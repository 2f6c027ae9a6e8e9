"""What may be in an argument: one sanitizer a module, found by its kind.

A check is pure: the same value gets the same answer anywhere, in the service and in a process of one's own. What only
the place of use can see (symbolic links, a resolver's answers) is enforced there, by `beneath` and `pinned_client`.
"""

from podium.sanitizers.declaration import SpecificationRefused
from podium.sanitizers.registry import KINDS, MissingLibrary, Sanitizer, compile_sanitizer
from podium.sanitizers.rejection import Rejected
from podium.sanitizers.schema import SchemaSanitizers, compile_schema_sanitizers

__all__ = [
    "KINDS",
    "MissingLibrary",
    "Rejected",
    "Sanitizer",
    "SchemaSanitizers",
    "SpecificationRefused",
    "compile_sanitizer",
    "compile_schema_sanitizers",
]
