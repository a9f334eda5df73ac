# judge.awk - from the table of figures and the results of all rounds to one line for each figure:
#   case figure how better goal unit name median min max spread n a b verdict      (separated by tabs)
# a and b are the medians of the sides. `better`: high, low, or - where there is no goal. -v only=CASE: of
# that case. A result called busy says that other work was going on when the case began.
BEGIN { FS = "|"; OFS = "\t"; MOST_SPREAD = 25; MOST_OTHERS = 0.3 }

FILENAME == "-" { n_figures++; for (i = 1; i <= 6; i++) figure[n_figures, i] = $i; next }

{
    split($0, f, "\t")
    value[f[1], f[2], f[3], f[4]] = f[5]
    if (f[3] > rounds[f[1]])
        rounds[f[1]] = f[3]
    if (f[4] == "busy")
        busy[f[1]] = 1
    if (f[4] == "others" && f[5] > others[f[1]])
        others[f[1]] = f[5]
}

function sort(v, n,    i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
}

function median(v, n) { sort(v, n); return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }

# The compared value of each round, into v; returns how many there are.
function compare(c, name, how, v,    r, n, a, b) {
    n = 0
    for (r = 1; r <= rounds[c]; r++) {
        if (!((c, "A", r, name) in value) || (how != "value" && !((c, "B", r, name) in value)))
            continue
        a = value[c, "A", r, name]
        b = value[c, "B", r, name]
        n++
        as[n] = a + 0
        bs[n] = b + 0
        v[n] = how == "ratio" ? (b != 0 ? a / b : 0) : how == "difference" ? a - b : a + 0
    }
    return n
}

function is_met(x, sign, limit) {
    return sign == ">=" ? x >= limit : sign == "<=" ? x <= limit : sign == "<" ? x < limit : 0
}

# A difference may be near nothing; it is measured by what it may be.
function spread_of(v, n, how, middle, limit,    whole) {
    whole = how == "difference" && limit != "" ? limit : middle
    if (whole < 0) whole = -whole
    return whole > 0 ? (v[n] - v[1]) / whole * 100 : 0
}

function verdict(c, spread, middle, sign, limit) {
    if (spread > MOST_SPREAD)
        return sprintf("no verdict: spread %.0f %%", spread)
    if (sign == "-")
        return "-"
    if (busy[c])
        return "no verdict: other load"
    if (others[c] > MOST_OTHERS)
        return sprintf("no verdict: others used %.1f cores", others[c])
    return is_met(middle, sign, limit) ? "met" : "missed"
}

END {
    for (i = 1; i <= n_figures; i++) {
        c = figure[i, 1]
        if ((only != "" && c != only) || !(c in rounds))
            continue
        split("", v); split("", as); split("", bs)
        n = compare(c, figure[i, 2], figure[i, 3], v)
        if (n == 0)
            continue
        split(figure[i, 4], goal, " ")
        middle = median(v, n)
        spread = spread_of(v, n, figure[i, 3], middle, goal[2])
        better = goal[1] == ">=" ? "high" : goal[1] == "-" ? "-" : "low"
        print c, figure[i, 2], figure[i, 3], better, figure[i, 4], figure[i, 5], figure[i, 6],
              middle, v[1], v[n], sprintf("%.0f", spread), n, median(as, n), median(bs, n),
              verdict(c, spread, middle, goal[1], goal[2])
    }
}
