"""The growth as pictures, drawn by gnuplot."""

import subprocess

from .settings import fail

HEAD = """
set terminal svg size 1020,330 font "sans-serif,13" background "#ffffff"
set output "{path}"
set multiplot layout 1,3
set key center left reverse Left samplen 1.5
set grid ytics lc rgb "#dddddd"
set border 3
set tics nomirror
set style line 1 lc rgb "#1f5fa8" lw 2 pt 7 ps 0.5
set style line 2 lc rgb "#c4501b" lw 2 pt 5 ps 0.5
set yrange [0:*]
set xtics {tics}
set format x "%.0s%c"
set format y "%.0s%c"
set xlabel "{xlabel}"
"""


def draw(path, xlabel, tics, rows, panels, log):
    """Three panels of lines: each (title, top of its y axis or None, [(name, key)])."""
    x = rows[0][0]
    script = [HEAD.format(path=path, xlabel=xlabel, tics=tics)]
    keys = [key for _, _, lines in panels for _, key in lines]
    script.append("$data << END")
    script += [" ".join(str(value) for value in (at, *(row[key] for key in keys))) for at, row in rows]
    script.append("END")
    script.append(f"set logscale x 10\nset xrange [{x / 2}:{rows[-1][0] * 2}]" if log else "set xrange [0:*]")
    column = 2
    for title, top, lines in panels:
        script.append(f'set title "{title}"')
        script.append(f"set yrange [0:{top or '*'}]")
        parts = []
        for style, (name, _) in enumerate(lines, 1):
            shown = f'title "{name}"' if len(lines) > 1 else "notitle"
            parts.append(f"$data using 1:{column} with linespoints linestyle {style} {shown}")
            column += 1
        script.append("plot " + ", ".join(parts))
    done = subprocess.run(["gnuplot"], input="\n".join(script) + "\nunset multiplot\n", text=True, capture_output=True)
    if done.returncode:
        fail(f"gnuplot: {done.stderr.strip()}")


def growth(folder, sizes, ages):
    draw(folder / "growth-tokens.svg", "tokens", "(1e3, 1e4, 1e5, 1e6)", [(row["tokens"], row) for row in sizes], [
        ("requests a second, 16 connections", None, [("introspect", "introspect_rate"), ("rotate", "rotate_rate")]),
        ("resident memory, MB", None, [("after the start", "resident_megabytes"),
                                       ("after the load", "resident_megabytes_after_load")]),
        ("start to first answer, ms", None, [("start", "ready_ms")]),
    ], log=True)
    draw(folder / "growth-rotations.svg", "rotations", "autofreq", [(row["rotations"], row) for row in ages["rows"]], [
        ("requests a second", None, [("introspect, 16 connections", "introspect_rate"),
                                     ("rotate, 64 connections", "rotate_rate")]),
        ("resident memory, MB", None, [("memory", "resident_megabytes")]),
        ("database and its log, MB", None, [("size", "database_megabytes")]),
    ], log=False)
