"""The one exception of the agent, and whose fault it says the failure is."""

from __future__ import annotations

from typing import Literal

Blame = Literal["lab", "candidate"]


class AgentError(Exception):
    """`blame` is "candidate" when the configuration cannot run here, "lab" when the host or a tool is at fault."""

    def __init__(self, message: str, *, blame: Blame = "lab", hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message, self.blame, self.hint, self.detail = message, blame, hint, detail[-4000:]

    @classmethod
    def from_json(cls, value: object) -> AgentError:
        """The error that the other gateway reported; whatever it sent, the result is an AgentError."""
        fields = value if isinstance(value, dict) else {}
        return cls(
            str(fields.get("message", "the other gateway failed"))[:1000],
            blame="candidate" if fields.get("blame") == "candidate" else "lab",
            hint=str(fields.get("hint", ""))[:1000],
            detail=str(fields.get("detail", "")),
        )

    def as_json(self) -> dict[str, str]:
        """The error as the module returns it."""
        return {"message": self.message, "blame": self.blame, "hint": self.hint, "detail": self.detail}
