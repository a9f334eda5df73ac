# markdown.awk - facts, lines of judge.awk and what was left out, as the table that README.md shows.
BEGIN { FS = "\t" }

function number(x) { return x >= 100 || x <= -100 ? sprintf("%d", x + (x < 0 ? -0.5 : 0.5)) : sprintf("%.3g", x) }

FNR == 1 { part++ }
part == 1 { split($0, f, "|"); facts = facts (facts == "" ? "" : "; ") f[1] ": " f[2]; next }
part == 2 && FILENAME ~ /summary$/ {
    if (!header++) {
        print facts ".\n"
        print "| what | median (min to max) | rounds | goal | verdict |"
        print "| --- | --- | --- | --- | --- |"
    }
    unit = $3 == "ratio" ? "" : " " $6
    printf "| %s | %s%s (%s to %s) | %d | %s | %s |\n", $7, number($8), unit, number($9), number($10), $12,
           $5 == "-" ? "" : $5 unit, $15 == "-" ? "" : $15
    next
}
{ left = left "\n- " $1 ": " $2 }
END { if (left != "") print "\nNot measured:\n" left }
