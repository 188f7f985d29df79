"""What only torch and the configuration can tell, for the doctor: python -m gnfactor.doctor.weigh [CONFIG...].

A process of its own, since importing torch takes seconds and may fail. Prints one line of JSON, see `needs.Answer`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gnfactor.doctor.needs import Answer, Torch, to_json
from gnfactor.errors import GNFactorError


def main(args: Sequence[str]) -> int:
    """Print what there is to tell; the exit status is always 0."""
    print(to_json(answer(args)))
    return 0


def answer(args: Sequence[str]) -> Answer:
    """What torch says, and what the configuration on a command line needs."""
    try:
        found = torch_here()
    except (ImportError, OSError, RuntimeError) as error:  # a shared library that is missing or does not fit
        return Answer(None, " ".join(str(error).split())[:200], None, "")
    if not args:
        return Answer(found, "", None, "")
    from gnfactor.config import load  # noqa: PLC0415 (imports torch)
    from gnfactor.doctor.estimate import needs_of  # noqa: PLC0415

    try:
        return Answer(found, "", needs_of(load(args)), "")
    except GNFactorError as error:
        return Answer(found, "", None, str(error))


def torch_here() -> Torch:
    """The installed torch and the graphics cards that it can use."""
    import torch  # noqa: PLC0415 (takes seconds)

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cards = (torch.cuda.get_device_properties(index) for index in range(count))
    return Torch(torch.__version__, torch.version.cuda, tuple((card.name, int(card.total_memory)) for card in cards))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
