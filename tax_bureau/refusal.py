"""Why the bureau does not do what a request asks. The state of the world is as before."""

from __future__ import annotations

from enum import StrEnum

from shared.text import Text


class Kind(StrEnum):
    """What is wrong; the HTTP side knows which status that is."""

    BAD_REQUEST = "bad-request"
    UNSIGNED = "unsigned"
    CLOCK_SKEW = "clock-skew"
    NONCE_REPLAYED = "nonce-replayed"
    KEY_NOT_ON_FILE = "key-not-on-file"
    NOT_ENROLLED = "not-enrolled"
    NOT_YOURS = "not-yours"
    UNKNOWN_REPORT = "unknown-report"
    SEQUENCE_TAKEN = "sequence-taken"
    NOT_SUCCEEDED = "not-succeeded"
    PART_OFFSET = "part-offset"
    OTHER_UPLOAD = "other-upload"
    TOO_LARGE = "too-large"
    BODY_DIGEST = "body-digest"
    DIGEST_MISMATCH = "digest-mismatch"
    REPORT_INVALID = "report-invalid"
    ACK_INVALID = "ack-invalid"
    BUSY = "busy"


class Refusal(Exception):
    """A request that is not done.

    Attributes:
        kind: What is wrong.
        text: The same in words.
        code: The field's error code, or one of ours; the kind's own name if there is none.
        field_code: The return value that the field shows beside 2734.
        retry_after: Seconds after which the same request may be answered otherwise, if that is known.
        more: Further members of the answer (the server's time, the code of an error of ours).
    """

    def __init__(
        self,
        kind: Kind,
        text: Text,
        *,
        code: str = "",
        field_code: str = "",
        retry_after: int | None = None,
        **more: object,
    ) -> None:
        """Refuse."""
        super().__init__(text.en)
        self.kind = kind
        self.text = text
        self.code = code or kind.value
        self.field_code = field_code
        self.retry_after = retry_after
        self.more = more
