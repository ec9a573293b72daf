"""One strategy of a plan: the model's figures, and the measured ones that replace them."""

from __future__ import annotations

from typing import Any

from iocp_sock.cli.plan.advice import Estimate
from iocp_sock.cli.plan.load import Load
from iocp_sock.cli.plan.measured import Measured
from iocp_sock.cli.plan.modelled import Figures


class Row:
    """A strategy under the whole load; `estimate` has the measured figures, if there are any."""

    def __init__(
        self, strategy: str, load: Load, figures: Figures, measured: Measured | None
    ) -> None:
        self._modelled = Estimate.of(strategy, load, figures)
        self._measured = measured
        self.estimate = self._modelled
        if measured is not None:
            self.estimate = Estimate.of(strategy, load, measured.correct(figures))

    def as_dict(self) -> dict[str, Any]:
        """Return the row for JSON, with measured figures and the modelled ones they replace."""
        shown = self.estimate.as_dict()
        if self._measured is not None:
            shown["measured"] = self._measured.as_dict()
            model = self._modelled.as_dict()
            shown["modelled"] = {name: model[name] for name in self._measured.replaces}
        return shown
