"""The box around an arc (G2, G3). Pure geometry in the XY plane, mm in and mm out."""

from __future__ import annotations

import math

Point = tuple[float, float]

_TURN = 2 * math.pi


def arc_box(
    start: Point, end: Point, center: Point, is_clockwise: bool
) -> tuple[float, float, float, float]:
    """Return (min x, min y, max x, max y) of the arc from `start` to `end` around `center`.

    The same start and end is a full circle, as for Klipper. The box holds the ends and each of
    the circle's four outermost points that the arc passes. An unknown (NaN) start gives NaN.
    """
    if math.isnan(start[0] + start[1] + end[0] + end[1]):
        return math.nan, math.nan, math.nan, math.nan
    radius = math.dist(start, center)
    begin = math.atan2(start[1] - center[1], start[0] - center[0])
    finish = math.atan2(end[1] - center[1], end[0] - center[0])
    if is_clockwise:
        # Clockwise from start to end covers what counter-clockwise covers from end to start.
        begin, finish = finish, begin
    sweep = (finish - begin) % _TURN or _TURN
    xs, ys = [start[0], end[0]], [start[1], end[1]]
    for quarter, (across, along) in enumerate(((1, 0), (0, 1), (-1, 0), (0, -1))):
        if (quarter * math.pi / 2 - begin) % _TURN <= sweep:
            xs.append(center[0] + across * radius)
            ys.append(center[1] + along * radius)
    return min(xs), min(ys), max(xs), max(ys)
