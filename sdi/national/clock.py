"""The time of day in Việt Nam."""

from __future__ import annotations

from datetime import timedelta, timezone

VIETNAM = timezone(timedelta(hours=7))
"""UTC+07:00, the country's one zone (QĐ 121/CP, 1967), since 1975 in the south as well, without summer time."""
