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
set format "%g"
set xlabel "{xlabel}"
"""


def draw(path, xlabel, tics, rows, panels, log):
    """Three panels of lines: each (title, [(name, key)], what its figures are divided by)."""
    x = rows[0][0]
    script = [HEAD.format(path=path, xlabel=xlabel, tics=tics)]
    columns = [(key, unit) for _, lines, unit in panels for _, key in lines]
    script.append("$data << END")
    script += [" ".join(str(value) for value in (at, *(row[key] / unit for key, unit in columns)))
               for at, row in rows]
    script.append("END")
    script.append(f"set logscale x 10\nset xrange [{x / 2}:{rows[-1][0] * 2}]" if log else "set xrange [0:*]")
    column = 2
    for title, lines, _ in panels:
        script.append(f'set title "{title}"')
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
    tics = '("1,000" 1e3, "10,000" 1e4, "100,000" 1e5, "a million" 1e6)'
    draw(folder / "growth-tokens.svg", "tokens", tics, [(row["tokens"], row) for row in sizes], [
        ("thousand requests a second, 16 connections",
         [("introspect", "introspect_rate"), ("rotate", "rotate_rate")], 1e3),
        ("resident memory, MB",
         [("after the start", "resident_megabytes"), ("after the load", "resident_megabytes_after_load")], 1),
        ("start to first answer, ms", [("start", "ready_ms")], 1),
    ], log=True)
    rows = [(row["rotations"] / 1e6, row) for row in ages["rows"]]
    draw(folder / "growth-rotations.svg", "million rotations", "autofreq", rows, [
        ("thousand requests a second",
         [("introspect, 16 connections", "introspect_rate"), ("rotate, 64 connections", "rotate_rate")], 1e3),
        ("resident memory, MB", [("memory", "resident_megabytes")], 1),
        ("database and its log, MB", [("size", "database_megabytes")], 1),
    ], log=False)
