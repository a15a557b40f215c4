"""A run in a notebook: the page as a widget, with a slider for λ."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.registration.live_registration import LiveRegistration
from angiomorph.registration.options import USUAL, RegistrationOptions

if TYPE_CHECKING:
    from angiomorph.registration.model import Model
    from angiomorph.view.widget import RunWidget


def show(
    series: Series, model: Model | str | os.PathLike[str] | None = None, options: RegistrationOptions = USUAL
) -> RunWidget:
    """Return a widget that shows a run in a notebook, plain DSA beside BSA, with a slider for λ.

        >>> widget = am.show(run, model)

    Args:
        series: the run, from `read_series`.
        model: result of `Model.load`, or a model `.h5`, or the name of a shipped one; None for the shipped default.
        options: how it begins.

    Raises:
        InputError: anywidget is not installed, a model that is none, or options that it cannot take.
    """
    if importlib.util.find_spec("anywidget") is None:
        raise InputError("anywidget: expected this package for `show`, found none; pip install 'angiomorph[notebook]'")
    from angiomorph.view.widget import RunWidget

    if model is None or isinstance(model, str | os.PathLike):
        return RunWidget(LiveRegistration(series, None if model is None else os.fspath(model), options))
    return RunWidget(LiveRegistration(series, options=options, loaded=model))
