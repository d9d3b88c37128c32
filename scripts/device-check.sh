#!/bin/sh
# Holds a GPU to the CPU, the goldens, its faults and its floor; what is done already is not done again.
#
#   cargo build --release --manifest-path kernels-rs/Cargo.toml -p hmar-device-check
#   scripts/device-check.sh kernels-rs/target/release/hmar-device-check results.json [minutes]
#
# The machine with the GPU needs neither Rust nor Node. Where compute-sanitizer is installed, its four tools look at
# the kernels too, and leave their findings beside the results.
set -u
program=$1 results=$2 minutes=${3:-9}
root=$(cd "$(dirname "$0")/.." && pwd)
end=$(($(date +%s) + minutes * 60))
left() { echo $((end - $(date +%s))); }

failed=0
for command in parity goldens faults bench; do
  [ "$(left)" -gt 20 ] || { echo "the time is over before $command"; exit 1; }
  "$program" $command --fixtures "$root" --out "$results" --seconds "$(left)" || failed=1
done

if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    log=$results.$tool.txt
    [ -e "$log" ] && continue
    [ "$(left)" -gt 60 ] || { echo "the time is over before $tool"; exit 1; }
    timeout "$(left)" compute-sanitizer --tool $tool --error-exitcode 9 --log-file "$log.partial" \
      "$program" parity --untimed --child-from 0 >/dev/null
    status=$?
    # Cut short, it has to be run again.
    [ $status -eq 124 ] || mv "$log.partial" "$log"
    [ $status -eq 0 ] || { echo "$tool: exit $status"; tail -3 "$log"* ; failed=1; }
  done
fi
exit $failed
