# soak.awk - soak.tsv as a picture: what must stay beside what went through, over time, with the kills below.
# Each scale begins at zero. Readable on light and on dark ground.
BEGIN { FS = "\t"; LEFT = 170; PLOT = 560; TEXT = 290; PANEL = 84; GAP = 22; TOP = 12; TICKS = 20; n = 0 }

function number(x) { return x >= 100 ? sprintf("%d", x + 0.5) : sprintf("%.3g", x) }
# The next of 1, 2, 5, 10, 20 ... : where the scale ends
function round_up(x,    step) {
    if (x <= 0)
        return 1
    for (step = 1; step < x; step *= 10) ;
    for (; step / 10 >= x; step /= 10) ;
    return x <= step / 5 ? step / 5 : x <= step / 2 ? step / 2 : step
}
function x_of(seconds) { return LEFT + PLOT * seconds / end }

# Of samples i to j
function median(value, i, j,    sorted, k, m, x) {
    m = 0
    for (k = i; k <= j; k++) {
        for (x = m++; x > 0 && sorted[x - 1] > value[k]; x--)
            sorted[x] = sorted[x - 1]
        sorted[x] = value[k]
    }
    return (sorted[int((m - 1) / 2)] + sorted[int(m / 2)]) / 2
}

# panel NAME UNIT VALUES STAYS: what stays is told by the medians of the first and the last tenth
function panel(name, unit, value, stays,    k, most, top, tenth, bottom) {
    for (k = 1; k <= n; k++)
        most = value[k] > most ? value[k] : most
    top = round_up(most)
    tenth = int((n + 9) / 10)
    bottom = y + PANEL
    printf "<path class=\"line\" d=\"M%d %dV%dH%d\"/>\n<path class=\"grid\" d=\"M%d %dH%d\"/>\n", LEFT, y, bottom, LEFT + PLOT, LEFT, y, LEFT + PLOT
    printf "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", LEFT - 10, y + PANEL / 2 + 4, name
    printf "<text x=\"%d\" y=\"%d\" class=\"faint\" text-anchor=\"end\">%s</text>\n", LEFT - 10, y + 9, top " " unit
    printf "<text x=\"%d\" y=\"%d\" class=\"faint\" text-anchor=\"end\">0</text>\n<path class=\"curve\" d=\"M", LEFT - 10, bottom
    for (k = 1; k <= n; k++)
        printf "%s%.1f %.1f", (k > 1 ? "L" : ""), x_of(at[k]), bottom - PANEL * value[k] / top
    print "\"/>"
    if (stays) {
        said("first tenth: " number(median(value, 1, tenth)) " " unit, 0)
        said("last tenth: " number(median(value, n - tenth + 1, n)) " " unit, 1)
        said("at most: " number(most) " " unit, 2)
    } else
        said("in all: " number(value[n]) " " unit, 0)
    y = bottom + GAP
}
function said(text, line) {
    printf "<text x=\"%d\" y=\"%d\" class=\"faint\">%s</text>\n", LEFT + PLOT + 14, y + 24 + line * 18, text
}

# ticks NAME COUNTS: one where there were more than at the sample before
function ticks(name, count,    k) {
    printf "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n<path class=\"tick\" d=\"", LEFT - 10, y + 12, name
    for (k = 2; k <= n; k++)
        if (count[k] > count[k - 1])
            printf "M%.1f %dv12", x_of(at[k]), y + 2
    printf "\"/>\n<text x=\"%d\" y=\"%d\" class=\"faint\">%d times</text>\n", LEFT + PLOT + 14, y + 12, count[n]
    y += TICKS
}

/^#/ { head = substr($0, 3); next }
$1 !~ /^[0-9]/ { next }
{
    n++
    at[n] = $1; rss[n] = $2 / 1024; fds[n] = $3; ring[n] = $4 / 1048576; database[n] = $5 / 1048576
    written[n] = $6 / 1000; relay[n] = $8; postgresql[n] = $9; broker[n] = $10
}

END {
    if (n < 2)
        exit
    end = at[n]
    width = LEFT + PLOT + TEXT
    height = TOP + 5 * (PANEL + GAP) + 3 * TICKS + 44
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"Memory, descriptors and disk over the soak\">\n", width, height, width, height
    print "<style>text{font:13px system-ui,sans-serif;fill:#24292f}.faint{fill:#57606a}path{fill:none}.curve{stroke:#2f6fdb;stroke-width:1.5}.line{stroke:#57606a;stroke-width:1}.grid{stroke:#57606a;stroke-width:1;stroke-dasharray:2 4}.tick{stroke:#c9510c;stroke-width:1}"
    print "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}.curve{stroke:#58a6ff}.line,.grid{stroke:#9198a1}.tick{stroke:#f0883e}}</style>"
    y = TOP
    panel("events written", "thousand", written, 0)
    panel("memory (RSS)", "MiB", rss, 1)
    panel("descriptors", "open", fds, 1)
    panel("outbox on disk", "MiB", ring, 1)
    panel("database on disk", "MiB", database, 1)
    ticks("relay killed", relay)
    ticks("PostgreSQL down", postgresql)
    ticks("broker down", broker)
    unit = end >= 600 ? 60 : 1
    step = round_up(end / unit / 8)
    for (t = 0; t * unit <= end; t += step)
        printf "<text x=\"%.1f\" y=\"%d\" class=\"faint\" text-anchor=\"middle\">%d</text>\n", x_of(t * unit), y + 16, t
    printf "<text x=\"%d\" y=\"%d\" class=\"faint\">%s; %s</text>\n</svg>\n", LEFT + PLOT + 30, y + 16, unit == 60 ? "minutes" : "seconds", head
}
