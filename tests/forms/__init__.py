"""The forms in which people write data movement, by topic."""

from __future__ import annotations

from forms import (
    arithmetic,
    destinations,
    filling,
    heads,
    loops,
    masks,
    refused,
    shifts,
    sources,
    state,
    steps,
)
from forms.form import Form, forms_of

TOPICS = (filling, destinations, arithmetic, sources, steps, loops, masks, shifts, heads, state, refused)

FORMS: tuple[Form, ...] = tuple(form for topic in TOPICS for form in forms_of(topic))

__all__ = ["FORMS", "TOPICS", "Form"]
