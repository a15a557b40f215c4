"""The options of a reader study."""

from __future__ import annotations

from dataclasses import dataclass

from angiomorph.options import check_options, document_options, option

PLAIN = "plain DSA"
SLOWEST, FASTEST = 0.1, 60  # frames a second
UNKNOWN_RATE = 4.0  # frames a second, of runs without times


@document_options
@dataclass(frozen=True)
class StudyOptions:
    """What readers see.

    >>> StudyOptions(seed=3).plain
    True
    """

    seed: int | None = option(None, "of the order of cases and panels, kept in the key", metavar="N", low=0, shown="drawn anew")
    plain: bool = option(True, f"show {PLAIN} as one more panel", off="leave out plain DSA")
    frames: int = option(40, "the most frames of a case, evenly over its contrast frames", metavar="N", low=1)
    size: int = option(512, "the longer side of the frames, to which larger ones are shrunk", metavar="PIXELS", low=32)
    rate: float | None = option(
        None,
        "frames a second at first",
        metavar="R",
        low=SLOWEST,
        high=FASTEST,
        shown=f"the run's own; {UNKNOWN_RATE:g} where it has none",
    )

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            InputError: names the argument, what was expected, and what came.
        """
        check_options(self)
