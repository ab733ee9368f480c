#!/bin/bash
# Everything on a machine with one GPU: unpacks what prepare.sh made, builds the addon against the installed Python torch,
# checks, measures. A part that fails or runs out of time does not stop the next one, and $OUT is brought up to date every
# twenty seconds, so that whoever ends this call finds what was there by then. docs/gpu.md says what each part is.
#
#   bash bench/gpu/run.sh FOLDER [PART ...]     FOLDER: from prepare.sh; all parts below by default
#
# $OUT gets few files: summary.txt, table.md, results.json, logs.tar, addon.tar.gz (put it into FOLDER and a later call on
# another machine of this kind does not build again), grid.png of the part sample.
#
# LIMIT (default 570) is what this call may take in seconds: nothing begins in its last 20, and what runs is ended with it.
# WORK (default /tmp/tessera-gpu) is kept between calls on the same machine. PYTHON (default python3) has torch. PATIENCE
# multiplies the time limits of parts. CASES, a regular expression, leaves out the cases whose names it does not match, in
# parts of which it matches any. DEVICE=cpu rehearses with tiny sizes.
set -u
repository="$(cd "$(dirname "$0")/../.." && pwd)"
carried="$(cd "${1:?expected the folder that prepare.sh made}" && pwd)"
shift
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(setup check parity resume ids ceilings overhead nat vq generate train vq-compile train-compile nat-compile generate-compile)
export DEVICE="${DEVICE:-cuda}" OUT="${OUT:-$PWD/gpu-results}" PYTHONUNBUFFERED=1 CUBLAS_WORKSPACE_CONFIG=:4096:8
end=$((SECONDS + ${LIMIT:-570}))
export DEADLINE=$(($(date +%s) + end - SECONDS - 20))
work="${WORK:-/tmp/tessera-gpu}"
logs="$work/logs"
python="${PYTHON:-python3}"
mkdir -p "$logs" "$OUT" "$work/golden"
summary="$OUT/summary.txt"
: > "$summary"

say() { echo "$@" | tee -a "$summary"; }

unpack() { # archive, folder, what an older one has left in $work …: unless this very archive was unpacked before
  local archive="$1" folder="$2" mark sum
  mark="$work/.unpacked-$(basename "$archive" | cut -d - -f 1)"
  sum="$(sha256sum < "$archive")"
  [ "$(cat "$mark" 2> /dev/null)" = "$sum" ] && return
  shift 2
  (cd "$work" && rm -rf "$mark" "$@") && mkdir -p "$folder"
  "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="fully_trusted")' "$archive" "$folder" && echo "$sum" > "$mark"
}
unpack "$(ls "$carried"/node-*.tar.xz)" "$work" node || exit 1
unpack "$carried/project.tar.xz" "$work" packages node_modules bench parity package.json || exit 1
[ -f "$carried/golden.tar" ] && unpack "$carried/golden.tar" "$work/golden" golden
export PATH="$work:$PATH" TESSERA_CACHE="${TESSERA_CACHE:-$work/cache}" TESSERA_BUILD_JOBS="${TESSERA_BUILD_JOBS:-8}"
export GOLDEN_DIR="$work/golden" PARITY="$work/parity" VQ_WEIGHTS="$work/vq" TORCHINDUCTOR_CACHE_DIR="$work/inductor"
# The set-up looks at its key, so an addon of other sources or of another torch does no harm.
[ -f "$carried/addon.tar.gz" ] && unpack "$carried/addon.tar.gz" "$TESSERA_CACHE"
cd "$work" || exit 1

refresh() { # $OUT as things stand
  node bench/gpu/report.mjs "$logs" "$OUT" > "$work/report.log" 2>&1
  tar -C "$work" -cf "$OUT/logs.tar.new" logs 2> /dev/null # a log that grows meanwhile is no reason to keep none
  mv "$OUT/logs.tar.new" "$OUT/logs.tar"
}
run() { # name, seconds, command …: its output in a log, its end in the summary
  local name="$1" limit=$(($2 * ${PATIENCE:-1})) began=$SECONDS code left=$((end - SECONDS)) keeper
  shift 2
  if [ $left -lt 20 ]; then
    say "$name: left out, no time"
    return
  fi
  [ $limit -le $left ] || limit=$left
  (while sleep 20 && kill -0 $$; do refresh; done) 2> /dev/null &
  keeper=$!
  timeout -k 5 "$limit" "$@" > "$logs/$name.log" 2>&1
  code=$?
  kill "$keeper"
  wait "$keeper" 2> /dev/null
  [ $code -eq 124 ] && code="124 (out of time, $limit s)"
  say "$name: exit $code after $((SECONDS - began)) s"
  [ "$code" = 0 ] || tail -n 5 "$logs/$name.log"
  refresh
}
lines() { # name, seconds, command …: JSON lines on stdout, kept apart
  export SILENCE="${SILENCE:-$((90 * ${PATIENCE:-1}))}"
  local name="$1"
  run "$name" "$2" bash -c 'exec node bench/gpu/in-turn.mjs "${@:2}" > "$1"' lines "$logs/$name.jsonl" "${@:3}"
}
ours() { lines "$1-ours" "$2" node bench/gpu/ours.mjs "$1"; } # part, seconds
peer() { # part, eager or compile, seconds
  local silence=90
  [ "$2" != compile ] || silence=300
  silence=$((silence * ${PATIENCE:-1}))
  node bench/gpu/cases.mjs "$1" > "$work/$1.json"
  [ "$1" != vq ] || [ -f "$VQ_WEIGHTS/vq.safetensors" ] || node bench/gpu/vq-weights.mjs "$VQ_WEIGHTS"
  EAGER="$logs/$1-eager.jsonl" SILENCE="$silence" lines "$1-$2" "$3" "$python" bench/gpu/baseline.py "$work/$1.json" "$2"
}

say "$("$python" -c 'import torch; print("torch", torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")')"
say "node $(node -p process.version), ready after $SECONDS s"
for part in "${parts[@]}"; do
  case "$part" in
    setup) run setup 280 node --input-type=module -e 'const { setupTorch } = await import("./packages/torch/setup/setup-torch.mjs"); await setupTorch({ log: console.log })'
           tail -n 4 "$logs/setup.log" | tee -a "$summary"
           [ ! -f "$TESSERA_CACHE/current.json" ] || tar -C "$TESSERA_CACHE" -czf "$OUT/addon.tar.gz" addons $(cd "$TESSERA_CACHE" && ls current*.json) ;;
    check) [ "$DEVICE" = cpu ] || run check-engine 60 node bench/gpu/check-engine.mjs
           run check-networks 60 bash -c 'node bench/gpu/check-networks.mjs networks && "$0" bench/gpu/check_networks.py networks' "$python" ;;
    parity) run parity-float32 120 node bench/gpu/parity.mjs float32; run parity-bf16 60 node bench/gpu/parity.mjs bf16
            tail -qn 1 "$logs"/parity-*.log | tee -a "$summary" ;;
    resume) rm -rf "$work/resume"; run resume 90 node bench/gpu/resume.mjs "$work/resume"; tail -n 1 "$logs/resume.log" | tee -a "$summary" ;;
    ids) run same-ids 120 node bench/gpu/same-ids.mjs ;;
    sample) run sample 60 node packages/tessera/bin/tessera.js sample "$repository/packages/models-emoji/emoji-32" --num-images 64 --device "$DEVICE" --out "$work/pictures"
            cp "$work/pictures/grid.png" "$OUT/" 2> /dev/null ;;
    ceilings) ours ceilings 30; peer ceilings eager 30 ;;
    overhead) ours overhead 20; peer overhead eager 20 ;;
    nat) ours nat 200; peer nat eager 120 ;;
    train) ours train 100; peer train eager 100 ;;
    generate) ours generate 180; peer generate eager 180 ;;
    vq) ours vq 60; peer vq eager 60 ;;
    nat-compile | train-compile | generate-compile | vq-compile) peer "${part%-compile}" compile 300 ;;
    *) say "unknown part $part" ;;
  esac
done
refresh
cat "$OUT/table.md" "$summary"
