#!/bin/sh
# Quantizes the bundled model to 8 and 4 bits, lets the 4-bit one tell a story, and prints what the bits cost. $1: the nibble program.
set -eu
nibble=$1
here=$(cd "$(dirname "$0")/.." && pwd)
out=$here/build/demo
mkdir -p "$out"
say() { printf '\n$ nibble %s\n' "$*"; }
run() { say "$@"; "$nibble" "$@"; }
cd "$here"
run quantize models/tales-5m build/demo/tales-5m-w8a16 --scheme W8A16 --force
run quantize models/tales-5m build/demo/tales-5m-w4a16 --scheme W4A16 --force
run run build/demo/tales-5m-w4a16 -p "Once upon a time" --max-tokens 120 --temperature 0.7 --seed 4
run compare models/tales-5m build/demo/tales-5m-w8a16 build/demo/tales-5m-w4a16 --text models/text/alice.txt
