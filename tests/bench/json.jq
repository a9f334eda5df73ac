# json.jq - facts, lines of judge.awk and what was left out, for programs.
def lines: split("\n") | map(select(length > 0));
{
  facts: ($facts | lines | map(split("|") | {key: .[0], value: .[1]}) | from_entries),
  figures: ($summary | lines | map(split("\t") | {
    case: .[0], figure: .[1], how: .[2], better: .[3], goal: .[4], unit: .[5], name: .[6],
    median: (.[7] | tonumber), min: (.[8] | tonumber), max: (.[9] | tonumber),
    spread_percent: (.[10] | tonumber), rounds: (.[11] | tonumber),
    median_a: (.[12] | tonumber), median_b: (.[13] | tonumber), verdict: .[14] })),
  not_measured: ($skipped | lines | map(split("\t") | {case: .[0], why: .[1]}))
}
