#!/bin/sh
# Makes the folder that run.sh carries to a bare machine with a GPU: Node, the built packages with what they need, the
# parity runners as JavaScript, and as many of the reference values as fit. Run it where the project is built.
#
#   bench/gpu/prepare.sh [FOLDER]       default .gpu, which git must not carry twice: put it into .git/info/exclude
#
# BUDGET (MiB, default 44) bounds the whole folder, an addon.tar.gz of an earlier run included; GOLDEN_DIR names the reference values (default: none are carried);
# NODE a Node 20 executable for Linux x64 (default: the one on PATH). The largest part, Node, is packed once and kept.
set -eu
cd "$(dirname "$0")/../.."
out="${1:-.gpu}"
node="${NODE:-$(command -v node)}"
mkdir -p "$out"
npx tsc -b
rm -rf "$out/stage" && mkdir -p "$out/stage"
node bench/gpu/stage.mjs "$out/stage"

key="$(sha256sum "$node" | cut -c1-16)"
if [ ! -f "$out/node-$key.tar.xz" ]; then
  rm -f "$out"/node-*.tar.xz
  mkdir -p "$out/stage-node" && cp -L "$node" "$out/stage-node/node"
  tar -C "$out/stage-node" -cf - node | xz -6 -T0 > "$out/node-$key.tar.xz"
  rm -rf "$out/stage-node"
fi
tar -C "$out/stage" -cf - . | xz -4 -T0 > "$out/project.tar.xz"
rm -rf "$out/stage"

taken="$(find "$out" -maxdepth 1 \( -name "*.tar.xz" -o -name addon.tar.gz \) -printf "%s\n" | awk '{ sum += $1 } END { print sum }')"
rm -f "$out/golden.tar"
if [ -n "${GOLDEN_DIR:-}" ]; then
  node bench/gpu/select-golden.mjs "$GOLDEN_DIR" $(( ${BUDGET:-44} * 1048576 - taken )) |
    tar -C "$GOLDEN_DIR" --no-recursion -cf "$out/golden.tar" -T -
fi
du -h "$out"/*
