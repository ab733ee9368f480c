#!/bin/bash
# Everything on a machine with one GPU in one call: unpacks what prepare.sh made, builds the addon against the installed
# Python torch, checks, measures, and writes results.json, table.md and a log a part into $OUT. A part that fails or runs
# out of time does not stop the next one. docs/gpu.md says what each part is.
#
#   bash bench/gpu/run.sh FOLDER [PART ...]     FOLDER: from prepare.sh; parts in the order below by default
#
# DEVICE=cpu rehearses with tiny sizes. WORK (default /tmp/tessera-gpu) is kept between calls, so a second call on the same
# machine does not build again. PYTHON (default python3) has torch.
set -u
repository="$(cd "$(dirname "$0")/../.." && pwd)"
carried="$(cd "${1:?expected the folder that prepare.sh made}" && pwd)"
shift
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(setup check parity resume ids ceilings overhead nat train generate vq)
export DEVICE="${DEVICE:-cuda}" OUT="${OUT:-$PWD/gpu-results}" PYTHONUNBUFFERED=1 CUBLAS_WORKSPACE_CONFIG=:4096:8
work="${WORK:-/tmp/tessera-gpu}"
python="${PYTHON:-python3}"
mkdir -p "$work" "$OUT"
summary="$OUT/summary.txt"
: > "$summary"

unpack() { # an archive, once
  [ -f "$work/.done-$(basename "$1")" ] && return
  "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$1" "$2" && touch "$work/.done-$(basename "$1")"
}
mkdir -p "$work/golden"
unpack "$(ls "$carried"/node-*.tar.xz)" "$work" || exit 1
unpack "$carried/project.tar.xz" "$work" || exit 1
[ -f "$carried/golden.tar" ] && unpack "$carried/golden.tar" "$work/golden"
export PATH="$work:$PATH" TESSERA_CACHE="${TESSERA_CACHE:-$work/cache}" GOLDEN_DIR="$work/golden" PARITY="$work/parity" VQ_WEIGHTS="$work/vq"
cd "$work" || exit 1

run() { # name, seconds, command …: its output in a log, its end in the summary
  local name="$1" limit="$2" began=$SECONDS code
  shift 2
  timeout -k 5 "$limit" "$@" > "$OUT/$name.log" 2>&1
  code=$?
  [ $code -eq 124 ] && code="124 (out of time, $limit s)"
  echo "$name: exit $code after $((SECONDS - began)) s" | tee -a "$summary"
  [ "$code" = 0 ] || tail -n 5 "$OUT/$name.log"
}
lines() { # name, seconds, command …: JSON lines on stdout, kept apart
  local name="$1"
  run "$name" "$2" bash -c '"${@:2}" > "$1"' lines "$OUT/$name.jsonl" "${@:3}"
}
both() { # part, seconds for ours, seconds for PyTorch, its kinds …
  local part="$1"
  lines "$part-ours" "$2" node bench/gpu/ours.mjs "$part"
  node bench/gpu/cases.mjs "$part" > "$work/$part.json"
  for kind in "${@:4}"; do
    lines "$part-$kind" "$3" bash -c '"$1" bench/gpu/baseline.py "$2" < "$3"' baseline "$python" "$kind" "$work/$part.json"
  done
}

"$python" -c 'import torch; print("torch", torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")' | tee -a "$summary"
node -p '"node " + process.version' | tee -a "$summary"
for part in "${parts[@]}"; do
  case "$part" in
    setup) run setup 280 node --input-type=module -e 'const { setupTorch } = await import("./packages/torch/setup/setup-torch.mjs"); await setupTorch({ log: console.log })' ;;
    check) [ "$DEVICE" = cpu ] || run check-engine 60 node bench/gpu/check-engine.mjs
           run check-networks 60 bash -c 'node bench/gpu/check-networks.mjs networks && "$0" bench/gpu/check_networks.py networks' "$python" ;;
    parity) run parity-float32 120 node bench/gpu/parity.mjs float32; run parity-bf16 60 node bench/gpu/parity.mjs bf16
            tail -qn 1 "$OUT"/parity-*.log | tee -a "$summary" ;;
    resume) rm -rf "$work/resume"; run resume 90 node bench/gpu/resume.mjs "$work/resume"; tail -n 1 "$OUT/resume.log" | tee -a "$summary" ;;
    ids) run same-ids 120 node bench/gpu/same-ids.mjs ;;
    sample) run sample 60 node packages/tessera/bin/tessera.js sample "$repository/packages/models-emoji/emoji-32" --num-images 64 --device "$DEVICE" --out "$work/pictures"
            cp "$work/pictures/grid.png" "$OUT/" 2> /dev/null ;;
    ceilings) both ceilings 60 60 eager ;;
    overhead) both overhead 30 30 eager ;;
    nat) both nat 240 240 eager compile ;;
    train) both train 200 200 eager compile ;;
    generate) both generate 300 300 eager compile ;;
    vq) node bench/gpu/vq-weights.mjs "$VQ_WEIGHTS" && both vq 60 60 eager compile ;;
    *) echo "unknown part $part" | tee -a "$summary" ;;
  esac
done
node bench/gpu/report.mjs "$OUT" > "$OUT/report.log" 2>&1
cat "$OUT/table.md" "$summary"
