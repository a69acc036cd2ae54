#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of bench/peers that need no engine. What needs numpy or gguf is skipped where these are not installed."""
import importlib.util
import json
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the tree stays as it is

from engines import run_process
from environment import PeerError, ROOT, require_outside_tree
from ggml_types import GGML_TYPES, SPELLINGS
from measure import Results, Settings
from model_names import ModelName
from report import markdown, merge, without_busy, write_page
from round_statistics import Summary, ratios
from shapes import SHAPES

HAS_NUMPY = importlib.util.find_spec("numpy") is not None
HAS_GGUF = HAS_NUMPY and importlib.util.find_spec("gguf") is not None


class Tables(unittest.TestCase):
    def test_shapes_have_their_sizes(self) -> None:
        self.assertEqual(round(SHAPES["110m"].read_weights / 1e6, 1), 109.5)
        self.assertEqual(round(SHAPES["1b"].read_weights / 1e9, 2), 1.04)

    def test_scales_lie_inside_their_blocks(self) -> None:
        for block in GGML_TYPES.values():
            for offset in [offset for offset, _ in block.scales]:
                self.assertLessEqual(offset + 2, block.size, block.name)
            for offset in block.byte_scales:
                self.assertLess(offset, block.size, block.name)

    def test_every_row_is_whole_blocks(self) -> None:
        for shape in SHAPES.values():
            for block in GGML_TYPES.values():
                self.assertEqual(shape.hidden % block.elements + shape.ffn % block.elements, 0)

    def test_a_spelling_stands_beside_a_type(self) -> None:
        for spelling in SPELLINGS.values():
            self.assertIn(spelling.nearest, GGML_TYPES)
        self.assertEqual(str(ModelName.parse("1b:gptq-int4").peer), "1b:q4_0")

    def test_names(self) -> None:
        self.assertEqual(len(ModelName.parse_list("110m:all-ggml,110m:q4_0")), len(GGML_TYPES))
        for wrong in ("2b:q4_0", "110m:q9", "110m", ""):
            with self.assertRaises(ValueError):
                ModelName.parse_list(wrong)

    def test_eight_bit_cache_is_measured_where_it_is_filled(self) -> None:
        settings = Settings(5, [1], 512, 128, [0, 4096], ["16", "8"], ["auto"])
        self.assertEqual(settings.speed_tests(), [("16", 512, 0), ("16", 0, 4096), ("8", 0, 4096)])


def some_results() -> Results:
    """Two rounds: nibble 30 and 20 tok/s, llama.cpp 20 and 16, bandwidth 20 and 10 GB/s, 0.5 GB a token."""
    def row(number: int, engine: str, test: str, value: float, kv: str = "16") -> dict[str, Any]:
        return {"round": number, "model": "1b:q4_0", "threads": 2, "engine": engine,
                "activations": "auto" if engine == "nibble" else "", "kv": kv, "test": test, "value": value,
                "others": 0.05 * number}
    rows = []
    for number, (mine, theirs, read) in enumerate([(30.0, 20.0, 20.0), (20.0, 16.0, 10.0)], 1):
        rows += [row(number, "machine", "read", read, ""), row(number, "machine", "fma", 200.0, ""),
                 row(number, "nibble", "decode@0", mine), row(number, "llama.cpp", "decode@0", theirs),
                 row(number, "nibble", "first-cold", 1.0), row(number, "llama.cpp", "first-cold", 2.0),
                 row(number, "nibble", "peak", 2.0**29), row(number, "llama.cpp", "peak", 2.0**30)]
    machine = {"processor": "a processor", "family_model": "family 1 model 1", "instructions": ["avx2"], "hypervisor": False,
               "cores": 2, "l3_bytes": 32 << 20, "memory_bytes": 8 << 30, "kernel": "6.1"}
    facts = {"peer": "1b:q4_0", "note": "", "read_bytes": 500e6, "peer_read_bytes": 500e6, "file_bytes": 500e6,
             "linear_weights": 973e6, "kv_elements": {"decode@0": 0.0}, "kv_types": {"nibble 16": "bf16", "llama.cpp 16": "f16"}}
    settings = {"prompt": 512, "generate": 128, "activations": ["auto"]}
    failure = {"model": "1b:q4_0", "engine": "llama.cpp", "what": "prompt", "message": "status 1\n  /home/me/x.gguf is no file"}
    return Results(machine, {"nibble": "0", "llama_cpp_python": "1"}, settings, {"1b:q4_0": facts}, rows, [failure])


class Reports(unittest.TestCase):
    def test_summary(self) -> None:
        summary = Summary.of([3.0, 1.0, 2.0])
        assert summary is not None
        self.assertEqual((summary.median, summary.spread), (2.0, 1.0))
        self.assertIsNone(Summary.of([]))

    def test_ratios_are_of_the_same_round(self) -> None:
        self.assertEqual(ratios({1: 4.0, 2: 9.0}, {2: 3.0, 3: 1.0}), [3.0])

    def test_tables_say_medians_ratios_and_shares(self) -> None:
        text = markdown(some_results())
        self.assertIn("| 1b:q4_0 | decode 128 at 0 | 25.0 ± 20 % | 18.0 ± 11 % | 1.38 (1.25 to 1.50) | 88 % | 65 % |", text)
        self.assertIn("| 1b:q4_0 | 1.00 ± 0 % | 2.00 ± 0 % | 0.50 (0.50 to 0.50) | - | - | - | - | - |", text)
        self.assertIn("| 1b:q4_0 | 477 | 512 ± 0 % | 1024 ± 0 % | 0.50 (0.50 to 0.50) |", text)
        self.assertIn("x.gguf is no file", text)
        self.assertNotIn("/home", text)

    def test_no_share_of_weights_that_fit_in_the_cache(self) -> None:
        results = some_results()
        results.machine["l3_bytes"] = 1 << 30
        self.assertIn("1.38 (1.25 to 1.50) | - | - |", markdown(results))

    def test_two_files_are_one_table(self) -> None:
        both = merge([some_results(), some_results()])
        self.assertEqual({row["round"] for row in both.rows}, {1, 2, 3, 4})
        other = some_results()
        other.machine["processor"] = "another"
        with self.assertRaises(PeerError):
            merge([some_results(), other])

    def test_rounds_beside_other_work_are_left_out(self) -> None:
        text = markdown(without_busy(some_results(), 0.06))
        self.assertIn("| 1b:q4_0 | decode 128 at 0 | 30.0 ± 0 % | 20.0 ± 0 % | 1.50 (1.50 to 1.50) |", text)

    def test_page_keeps_what_stands_around(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "docs" / "performance.md"
            write_page(page, "first\n")
            page.write_text(page.read_text() + "\nmy own words\n")
            write_page(page, "second\n")
            text = page.read_text()
            self.assertIn("second", text)
            self.assertNotIn("first", text)
            self.assertTrue(text.startswith("# Performance") and text.endswith("my own words\n"))
            page.write_text("no markers\n")
            with self.assertRaises(PeerError):
                write_page(page, "third")

    def test_results_survive_a_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "r.json"
            some_results().save(path)
            self.assertEqual(markdown(Results.load(path)), markdown(some_results()))
            path.write_text("[]")
            with self.assertRaises(PeerError):
                Results.load(path)


class Processes(unittest.TestCase):
    def test_a_failure_says_why(self) -> None:
        with self.assertRaisesRegex(PeerError, "(?s)exit status 3.*no such thing"):
            run_process([sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"])

    def test_peak_memory_is_the_childs(self) -> None:
        finished = run_process([sys.executable, "-c", "x = b'1' * (200 << 20); print('done')"])
        self.assertEqual(finished.stdout, "done\n")
        self.assertGreater(finished.peak_bytes, 200 << 20)

    def test_nothing_large_goes_into_the_tree(self) -> None:
        with self.assertRaises(PeerError):
            require_outside_tree(ROOT / "build" / "x", "--work-dir")


@unittest.skipUnless(HAS_NUMPY, "numpy is not installed")
class Blocks(unittest.TestCase):
    def test_blocks_have_their_size_and_finite_scales(self) -> None:
        import numpy as np
        from block_bytes import random_blocks
        for block in GGML_TYPES.values():
            data = random_blocks(np.random.Generator(np.random.SFC64(1)), block, 4096)
            self.assertEqual((data.dtype, data.size), (np.uint8, block.bytes_of(4096)), block.name)
            if block.kind in ("numbers", "f16 scale in nibbles"):
                continue
            for offset, value in block.scales:
                stored = data.reshape(-1, block.size)[:, offset:offset + 2].copy().view(np.float16).astype(np.float32)
                self.assertLess(np.abs(stored / value - 1).max(), 0.27, block.name)
        with self.assertRaises(ValueError):
            random_blocks(np.random.default_rng(1), GGML_TYPES["q4_k"], 100)

    @unittest.skipUnless(HAS_GGUF, "gguf is not installed")
    def test_blocks_decode_to_usual_weights(self) -> None:
        import gguf
        import numpy as np
        from block_bytes import random_blocks
        for block in GGML_TYPES.values():
            data = random_blocks(np.random.Generator(np.random.SFC64(1)), block, 1 << 16)
            try:
                weights = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[block.name.upper()])
            except NotImplementedError:
                continue
            self.assertTrue(0.01 < weights.astype(np.float64).std() < 0.04 and abs(weights.mean()) < 0.004, block.name)

    def test_spellings_write_what_they_declare(self) -> None:
        from hub_folders import write_hub_folder
        from hub_spellings import CONFIGS, TENSORS
        from shapes import Shape
        self.assertEqual(list(TENSORS), list(SPELLINGS))
        self.assertEqual(list(CONFIGS), list(SPELLINGS))
        tiny = Shape("tiny", layers=1, hidden=256, ffn=512, heads=4, kv_heads=2, vocab=256)
        for spelling in SPELLINGS:
            with tempfile.TemporaryDirectory() as folder:
                write_hub_folder(Path(folder), tiny, spelling)
                data = (Path(folder) / "model.safetensors").read_bytes()
                length = int.from_bytes(data[:8], "little")
                header = json.loads(data[8:8 + length])
                end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
                self.assertEqual(8 + length + end, len(data), spelling)
                config = json.loads((Path(folder) / "config.json").read_text())
                self.assertEqual(config["quantization_config"], CONFIGS[spelling])


if __name__ == "__main__":
    unittest.main()
