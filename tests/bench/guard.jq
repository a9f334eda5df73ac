# guard.jq - the ratios of a run ($now) beside those of the baseline (the input): what is worse by a tenth.
# A ratio without a goal is told when it moved either way.
($now[0].figures | map(select(.how == "ratio") | {key: (.case + "." + .figure), value: .}) | from_entries) as $new
| [.ratios[] | . as $old | $new[.case + "." + .figure] | select(. != null)
   | {name, was: $old.median, is: .median, spread: .spread_percent, change: (.median / $old.median - 1)}
   + (if .better == "low" then {worse: (.median > 1.1 * $old.median)}
      elif .better == "high" then {worse: (.median < 0.9 * $old.median)}
      else {worse: ((.median / $old.median - 1) | fabs > 0.1)} end)] as $all
| ($all | map(select(.worse))) as $worse
| "\nBeside the baseline of \(.facts.date): \($all | length) ratios, \($worse | length) of them worse or moved by more than a tenth.",
  ($worse[] | "- \(.name): \(.was * 1000 | round / 1000) -> \(.is * 1000 | round / 1000)\(if .spread > 25 then " (spread \(.spread) %)" else "" end)")
