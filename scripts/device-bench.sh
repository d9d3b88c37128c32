#!/bin/sh
# Verifies a GPU and measures it, in parts that can be cut short; what is done already is not done again.
#
#   npm run build && npm run device-pack                                            # where Node is
#   scripts/device-bench.sh [-q] [-m minutes] [-d device] .device results [model…]  # where the GPU is
#
# The machine with the GPU needs nothing but its driver; a python3 with PyTorch is measured beside it. -q is the quick run.
# Node and the synthetic weights are kept in $HMAR_WORK, by default /tmp/hmar.
set -u
quick= minutes=9 device=cuda
while getopts qm:d: option; do
  case $option in
    q) quick=--quick ;;
    m) minutes=$OPTARG ;;
    d) device=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
packed=$1 results=$2
shift 2
end=$(($(date +%s) + minutes * 60))
left() { echo $((end - $(date +%s))); }

work=${HMAR_WORK:-/tmp/hmar}
node=$work/node
mkdir -p "$work" "$results"
if [ ! -x "$node" ]; then
  { xz -dc "$packed/node.xz" || python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$packed/node.xz"; } >"$node.partial" &&
    chmod +x "$node.partial" && mv "$node.partial" "$node" || exit 1
fi

failed=0
if [ ! -e "$results/verification.json" ]; then
  "$node" "$packed/dist/cli.js" verify --device "$device"
  "$node" "$packed/dist/cli.js" verify --device "$device" --json >"$results/verification.partial" || failed=1
  mv "$results/verification.partial" "$results/verification.json"
fi

bench() {
  timeout "$(left)" "$node" "$packed/dist/bench.js" --device "$device" $quick --resume \
    --out "$results" --weights "$work/weights" "$@"
}
if [ -n "$quick" ]; then
  bench || failed=1
else
  [ $# -gt 0 ] || set -- d16 d30 d24-512 d24 d20
  for model; do
    [ "$(left)" -gt 60 ] || { echo "the time is over before $model"; exit 1; }
    bench --model "$model" || failed=1
  done
fi
exit $failed
