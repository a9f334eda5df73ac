# svg.awk - lines of judge.awk that have a goal, as a picture: how far each is, the goal at one line. Longer is
# better, also for what should be small. Readable on light and on dark ground.
BEGIN { FS = "\t"; LABEL = 390; BAR = 280; TEXT = 310; ROW = 26; TOP = 46; n = 0 }

function escape(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); gsub(/>/, "\\&gt;", s); return s }
function number(x) { return x >= 100 ? sprintf("%d", x + 0.5) : sprintf("%.3g", x) }
# How much of the goal is reached, 1: just so; twice as good is the end of the scale.
function reached(x, sign, limit,    r) {
    if (sign == ">=")
        r = x / limit
    else
        r = x > 0 ? limit / x : 2
    return r > 2 ? 2 : r < 0 ? 0 : r
}

$5 != "-" {
    n++
    split($5, goal, " ")
    at[n] = reached($8, goal[1], goal[2])
    one = reached($9, goal[1], goal[2])
    other = reached($10, goal[1], goal[2])
    low[n] = one < other ? one : other
    high[n] = one < other ? other : one
    name[n] = $7
    is_open[n] = $15 ~ /^no verdict/
    unit = $3 == "ratio" ? "" : " " $6
    said[n] = number($8) unit " (" number($9) " to " number($10) "), goal " $5 unit
}

END {
    width = LABEL + BAR + TEXT
    height = TOP + n * ROW + 16
    scale = BAR / 2
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"What was measured, beside the goals\">\n", width, height, width, height
    print "<style>text{font:13px system-ui,sans-serif;fill:#24292f}.faint{fill:#57606a}.bar{fill:#2f6fdb}.missed{fill:#c9510c}.open{fill:#8c959f}.line{stroke:#57606a;stroke-width:1}.range{stroke:#24292f;stroke-width:1.5}"
    print "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}.bar{fill:#58a6ff}.missed{fill:#f0883e}.line{stroke:#9198a1}.range{stroke:#e6edf3}}</style>"
    printf "<text x=\"%d\" y=\"20\" class=\"faint\" text-anchor=\"middle\">goal</text>\n", LABEL + scale
    printf "<text x=\"%d\" y=\"20\" class=\"faint\" text-anchor=\"end\">twice as good</text>\n", LABEL + BAR
    printf "<text x=\"%d\" y=\"20\" class=\"faint\">median (min to max); grey: no verdict</text>\n", LABEL + BAR + 10
    for (i = 1; i <= n; i++) {
        y = TOP + (i - 1) * ROW
        kind = is_open[i] ? "open" : at[i] >= 1 ? "bar" : "missed"
        printf "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", LABEL - 10, y + 4, escape(name[i])
        printf "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"14\" rx=\"2\"/>\n", kind, LABEL, y - 7, at[i] * scale
        printf "<path class=\"range\" d=\"M%.1f %dH%.1f\"/>\n", LABEL + low[i] * scale, y, LABEL + high[i] * scale
        printf "<text x=\"%d\" y=\"%d\" class=\"faint\">%s</text>\n", LABEL + BAR + 10, y + 4, escape(said[i])
    }
    printf "<path class=\"line\" d=\"M%d 28V%d\"/>\n</svg>\n", LABEL + scale, height - 8
}
