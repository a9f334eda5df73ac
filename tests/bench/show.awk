# show.awk - lines of judge.awk, for a terminal.
BEGIN { FS = "\t" }
{ printf "  %-58s %10.4g (%.4g to %.4g)  A %.5g, B %.5g %s  %s\n", $7, $8, $9, $10, $13, $14, $6, $15 }
