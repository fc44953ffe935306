"""Completion curves as SVG: how many peers are done after how many seconds."""

from xml.sax.saxutils import escape

COLOURS = ["#1b6ca8", "#c8553d", "#588157", "#8d6b94", "#b08900", "#444444", "#2a9d8f", "#9d4edd"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 376, 56, 16, 56, 48


def steps(limit):
    """Round numbers for an axis."""
    for step in (1, 2, 5, 10, 20, 50, 100, 200, 500):
        if limit / step <= 8:
            return [step * n for n in range(int(limit / step) + 1)]
    return [0, limit]


def completion(title, note, curves, peers, optimum):
    """`curves`: name to the sorted times of completion; `note`: of what and where that was measured."""
    longest = max([times[-1] for times in curves.values() if times] + [optimum or 0, 1]) * 1.05
    x = lambda t: LEFT + (WIDTH - LEFT - RIGHT) * t / longest
    y = lambda n: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * n / peers
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
           f'font-size="12"><rect width="100%" height="100%" fill="white"/>'
           f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>'
           f'<text x="{LEFT}" y="36" font-size="11" fill="#666">{escape(note)}</text>']
    for t in steps(longest):
        out.append(f'<path d="M{x(t):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>'
                   f'<text x="{x(t):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{t:g}</text>')
    for n in steps(peers):
        out.append(f'<path d="M{LEFT} {y(n):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{y(n) + 4:.1f}" text-anchor="end">{n:g}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">seconds</text>'
               f'<text x="14" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
               f'transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2})">peers done</text>')
    if optimum:
        out.append(f'<path d="M{x(optimum):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="black" stroke-dasharray="4 3"/>'
                   f'<text x="{x(optimum) - 4:.1f}" y="{TOP + 12}" text-anchor="end">T*</text>')
    for number, (name, times) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = f"M{x(0):.1f} {y(0):.1f}" + "".join(f"H{x(t):.1f}V{y(n):.1f}" for n, t in enumerate(times, 1))
        out.append(f'<path d="{path}H{x(longest):.1f}" fill="none" stroke="{colour}" stroke-width="2"/>'
                   f'<text x="{LEFT + 8}" y="{TOP + 14 + 15 * number}" fill="{colour}">{escape(name)}</text>')
    return "\n".join(out) + "\n</svg>\n"
