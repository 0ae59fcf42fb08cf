"""Refuses a bundle that could carry a secret key: whatever looks like one and was not declared public stays out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from app.errors import ServiceError

# 32 bytes in base64 are 43 characters and one "="; the last character before it carries only two bits.
_BASE64_KEY = re.compile(rb"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=(?![A-Za-z0-9+/=])")
# A field named like a secret with 64 hexadecimal digits, as the UAPI protocol writes keys.
_HEX_SECRET = re.compile(rb"(private|preshared|secret)[a-z_ -]*[\"']?\s*[:=]\s*[\"']?[0-9a-f]{64}", re.IGNORECASE)
_KEY_LINE = re.compile(rb"private(_|-|\s)*key[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9+/]{8}", re.IGNORECASE)
_FORBIDDEN_WORDS = (re.compile(rb"privatekey", re.IGNORECASE), re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY"))


class SecretInBundleError(ServiceError):
    """A file of the bundle holds something that looks like a secret key; the message names the file only."""

    kind = "secret-in-bundle"


def refuse_secrets(files: Mapping[str, bytes], public_keys: Iterable[str]) -> None:
    """Raises SecretInBundleError when a file or a file's name could hold a secret key.

    `public_keys` are the only base64 values of key length that may occur.
    """
    allowed = {key.encode() for key in public_keys}
    for name, content in files.items():
        for text in (name.encode(), content):
            reason = _secret_in(text, allowed)
            if reason:
                raise SecretInBundleError(
                    f"The bundle was not written: {name} holds {reason}.",
                    hint="A host reported it among its facts or settings; find out which tool of that host shows keys.",
                )


def _secret_in(text: bytes, allowed: set[bytes]) -> str | None:
    if any(match.group() not in allowed for match in _BASE64_KEY.finditer(text)):
        return "a base64 value of the length of a key that is not one of the study's public keys"
    if _HEX_SECRET.search(text) or _KEY_LINE.search(text):
        return "a field that is named like a secret key and has a value"
    if any(word.search(text) for word in _FORBIDDEN_WORDS):
        return "the name of a secret key field"
    return None
