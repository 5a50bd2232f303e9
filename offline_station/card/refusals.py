"""A device that says no with a number: the number in the field's spelling, and what the catalogue knows about it.

A driver of a real card raises this wherever the device itself refuses (`JSK222`, `09d11f`): the operator then reads the
same words and the same remedy as in `explain`, whatever the device's own software would have shown.
"""

from __future__ import annotations

from shared.errors import WrongState
from shared.faults import find
from shared.text import Text


class DeviceRefused(WrongState):
    """The device does not do it in its present state; it has changed nothing."""

    def __init__(self, device_code: str, said: str = "") -> None:
        """Say what the device said.

        Args:
            device_code: Its number, as the field spells it.
            said: Its own words, which help where the catalogue does not know the number.
        """
        fault = find(device_code, said)
        first = fault.steps[0]
        super().__init__(
            reason=Text(
                f"税控设备返回 {device_code}，{fault.title.zh}", f"the tax device says {device_code}: {fault.title.en}"
            ),
            next_action=Text(f"{first.zh}；详见 explain {device_code}", f"{first.en}; see explain {device_code}"),
        )
        self.device_code = device_code

    def as_json(self) -> dict[str, object]:
        """Return the error with the device's number beside ours."""
        return {**super().as_json(), "field_code": self.device_code}
