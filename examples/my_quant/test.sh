#!/bin/sh
# Installs nibble into a scratch folder, builds this example against it, makes a checkpoint and runs it. test.sh NIBBLE_BUILD_DIR SOURCE_DIR
set -eu
build=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/nibble" >/dev/null
cmake -S "$source/examples/my_quant" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/nibble" >/dev/null
cmake --build "$work/build" >"$work/log" || { cat "$work/log"; exit 1; }
"$work/build/make_checkpoint" "$source/tests/data/models/tales-1m" "$work/model"
nibble="$work/nibble/bin/nibble --plugin $work/build/libmy_quant.so"
$nibble inspect "$work/model" | grep -q "my_quant"
$nibble run "$work/model" --prompt-ids 0,5,9 --max-tokens 4 --ids --ignore-eos --temperature 0
$nibble run "$work/model" --prompt-ids 0,5,9 --max-tokens 4 --ids --ignore-eos --temperature 0 --tp 2
# Another ABI, and a file that is no plug-in: refused with exit code 4, nothing runs.
echo 'extern "C" const void* nibble_plugin() { static const unsigned plugin[16] = {99}; return plugin; }' >"$work/old.cc"
c++ -shared -fPIC -o "$work/old.so" "$work/old.cc"
for bad in "$work/old.so" "$work/model/config.json"; do
  code=0
  "$work/nibble/bin/nibble" --plugin "$bad" methods >/dev/null 2>"$work/error" || code=$?
  [ "$code" = 4 ]
  grep -q "$bad" "$work/error"
done
# Without the plug-in the method is unknown: exit code 4.
code=0
"$work/nibble/bin/nibble" inspect "$work/model" 2>/dev/null || code=$?
[ "$code" = 4 ]
