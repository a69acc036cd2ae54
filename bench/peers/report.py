# SPDX-License-Identifier: Apache-2.0
"""Tables in Markdown from results, and their place in docs/performance.md. Standard library only."""
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from environment import PeerError
from measure import Results
from round_statistics import Pair, Row, Summary, pair_of

BEGIN = "<!-- peers: begin (written by bench/peers/compare.py --report; edits inside are lost) -->"
END = "<!-- peers: end -->"
BUSY = 0.1  # cores of other work that the report counts as a disturbance
NEW_PAGE = f"""# Performance

nibble beside llama.cpp. `python3 bench/peers/compare.py` measures; [bench/peers](../bench/peers/README.md) says how.

{BEGIN}
{END}
"""


@dataclass(frozen=True)
class Line:
    model: str
    threads: int
    activations: str
    kv: str
    test: str
    pair: Pair


def merge(all_results: list[Results]) -> Results:
    """Runs of one processor and one llama.cpp as one; later rounds are numbered on, builds of nibble are all named."""
    first = all_results[0]
    for other in all_results[1:]:
        for what, mine, theirs in (("processor", first.machine["processor"], other.machine["processor"]),
                                   *((key, first.versions.get(key), other.versions.get(key))
                                     for key in ("llama_cpp_python", "llama_system")),
                                   *((key, first.settings[key], other.settings[key]) for key in ("prompt", "generate"))):
            if mine != theirs:
                raise PeerError(f"figures that do not belong in one table: {what} {mine} and {theirs}; give one file at a time")
        if other.versions["nibble"] not in first.versions["nibble"].split(", "):
            first.versions["nibble"] += ", " + other.versions["nibble"]
        shift = max((int(row["round"]) for row in first.rows), default=0)
        first.rows += [{**row, "round": int(row["round"]) + shift} for row in other.rows]
        first.failures += other.failures
        for model, facts in other.models.items():
            known = first.models.setdefault(model, facts)
            for key in ("kv_elements", "kv_types", "notes"):
                known[key] = {**facts.get(key, {}), **known.get(key, {})}
    return first


def without_busy(results: Results, limit: float) -> Results:
    """Less what was measured while other work took more than `limit` cores, whatever its figure says. Peaks of memory stay."""
    return replace(results, rows=[row for row in results.rows if float(row["others"]) <= limit or row["test"] == "peak"])


def _distinct(rows: list[Row], key: str) -> list:
    return list(dict.fromkeys(row[key] for row in rows if row["engine"] != "machine"))


def lines_of(results: Results) -> list[Line]:
    """One for every model, thread count, activations, cache and test that either engine was measured in."""
    l3, lines = int(results.machine["l3_bytes"]), []
    for model, facts in results.models.items():
        rows = [row for row in results.rows if row["model"] == model]
        activations = [a for a in _distinct(rows, "activations") if a] or [""]  # none: nibble refuses the model
        for threads in sorted(_distinct(rows, "threads")):
            here = [row for row in rows if row["threads"] == threads and row["engine"] != "machine"]
            for kv, test in dict.fromkeys((row["kv"], row["test"]) for row in here):
                lines += [Line(model, threads, a, kv, test, pair_of(rows, facts, model, threads, a, kv, test, l3))
                          for a in activations]
    return lines


def _figure(value: Summary | None, scale: float = 1.0) -> str:
    if value is None:
        return "-"
    middle = value.median * scale
    digits = 2 if middle < 10 else 1 if middle < 100 else 0
    return f"{middle:.{digits}f} ± {100 * value.spread / value.median:.0f} %"


def _ratio(value: Summary | None) -> str:
    return "-" if value is None else f"{value.median:.2f} ({value.low:.2f} to {value.high:.2f})"


def _share(value: Summary | None) -> str:
    return "-" if value is None else f"{100 * value.median:.0f} %"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _table(header: list[str], rows: list[list[str]], left: int) -> str:
    """`left` columns are words, the others figures."""
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows]) + "\n"


def _model(results: Results, model: str) -> str:
    peer = str(results.models[model]["peer"])
    return model if peer == model else f"{model} beside {peer.partition(':')[2]}"


def _speed_table(results: Results, lines: list[Line], many: bool) -> str:
    header = ["model", "test", *(["activations"] if many else []), "nibble tok/s", "llama.cpp tok/s", "ratio", "nibble's share",
              "llama.cpp's share"]
    rows = []
    for line in lines:
        test = f"prompt {results.settings['prompt']}" if line.test == "prompt" else line.test.replace(
            "decode@", f"decode {results.settings['generate']} at ")
        p = line.pair
        rows.append([_model(results, line.model), test + (", 8-bit K/V" if line.kv == "8" else ""),
                     *([line.activations] if many else []), _figure(p.nibble), _figure(p.llama), _ratio(p.ratio),
                     _share(p.nibble_share), _share(p.llama_share)])
    return _table(header, rows, 3 if many else 2)


FIRST_TESTS = ("first-cold", "first-warm", "first-cached-cold", "first-cached-warm")


def _first_table(results: Results, lines: list[Line], many: bool) -> str:
    header = ["model", *(["activations"] if many else []), "nibble, cold", "llama.cpp, cold", "ratio", "nibble, warm",
              "llama.cpp, warm", "ratio", "nibble, pack cache, cold", "nibble, pack cache, warm"]
    cells: dict[tuple[str, str], dict[str, Pair]] = {}
    for line in lines:
        cells.setdefault((line.model, line.activations), {})[line.test] = line.pair
    rows = []
    for (model, activations), tests in cells.items():
        cold, warm, cached_cold, cached_warm = (tests.get(test, Pair(None, None, None, None, None)) for test in FIRST_TESTS)
        rows.append([_model(results, model), *([activations] if many else []), _figure(cold.nibble), _figure(cold.llama),
                     _ratio(cold.ratio), _figure(warm.nibble), _figure(warm.llama), _ratio(warm.ratio),
                     _figure(cached_cold.nibble), _figure(cached_warm.nibble)])
    return _table(header, rows, 2 if many else 1)


def _peak_table(results: Results, lines: list[Line], many: bool) -> str:
    header = ["model", *(["activations"] if many else []), "file MiB", "nibble MiB", "llama.cpp MiB", "ratio"]
    rows = [[_model(results, line.model), *([line.activations] if many else []),
             f"{float(results.models[line.model]['file_bytes']) / 2**20:.0f}", _figure(line.pair.nibble, 2**-20),
             _figure(line.pair.llama, 2**-20), _ratio(line.pair.ratio)] for line in lines]
    return _table(header, rows, 2 if many else 1)


def _features(system: str) -> str:
    """Of llama_print_system_info's "CPU : AVX = 1 | FMA = 1 | ", what is on."""
    return ", ".join(item.split("=")[0].split(":")[-1].strip() for item in system.split("|") if item.strip().endswith("= 1"))


def _machine(results: Results) -> str:
    m, v = results.machine, results.versions
    limits = [row for row in results.rows if row["engine"] == "machine"]

    def spread_of(test: str, unit: str) -> str:
        parts = []
        for threads in sorted({int(row["threads"]) for row in limits}):
            values = [float(row["value"]) for row in limits if row["test"] == test and row["threads"] == threads]
            parts.append(f"{median(values):.0f} ({min(values):.0f} to {max(values):.0f}) {unit} with {threads}")
        return ", ".join(parts)
    busy = sum(float(row["others"]) > BUSY for row in results.rows)
    kv = sorted({f"{where.rsplit(' ', 1)[0]} {kind}" for facts in results.models.values()
                 for where, kind in facts.get("kv_types", {}).items() if where.endswith(" 16")})
    count = max((int(row["round"]) for row in results.rows), default=0)
    return (f"**{m['processor']}**, {m['family_model']}, {m['cores']} cores{' of a virtual machine' if m['hypervisor'] else ''}, "
            f"{', '.join(m['instructions']) or 'no vector extension known here'}; last-level cache "
            f"{str(int(m['l3_bytes']) >> 20) + ' MiB' if m['l3_bytes'] else 'unknown'}, memory "
            f"{int(m['memory_bytes']) / 2**30:.0f} GiB, Linux {m['kernel']}. nibble {v['nibble']}; llama-cpp-python "
            f"{v['llama_cpp_python']} ({_features(v.get('llama_system', ''))}). Rounds: {count}. Activations of nibble: "
            f"{', '.join(a for a in _distinct(results.rows, 'activations') if a)}. K/V: {', '.join(kv)}.\n\n"
            f"Threads and limits, measured in every round: reads {spread_of('read', 'GB/s')}; multiplies and adds (f32) "
            f"{spread_of('fma', 'GFLOP/s')}. Other work took more than {BUSY} cores during {busy} of {len(results.rows)} "
            "measurements.\n")


EXPLANATION = """
Random weights, uniform codes, tied heads. Each figure is the median over rounds, ± half the range; a ratio is nibble / llama.cpp
within a round, with the least and the greatest. Shares: of a prompt, the floating-point operations of the layers against the f32
peak of that round (llama.cpp multiplies in int8 for most types, so it may pass 100 %); of decoding, the bytes of the file's weights
and of K/V a token reads against the bandwidth of that round; none where the weights are less than twice the last-level cache.
A hub spelling stands beside the nearest ggml type, whose file llama.cpp runs.
"""
FIRST_EXPLANATION = """\
Of a whole process with {threads}, one token of prompt; llama.cpp's without the start of Python. Cold: after the files left the
page cache (`posix_fadvise(DONTNEED)`; a disk's or a host's own cache is not emptied). Pack cache: a start after one that filled it.
Ratios are nibble / llama.cpp: of times, less is better.
"""
PEAK_EXPLANATION = "A prompt of 512 and 128 tokens after it; mapped pages of the file count. llama.cpp's less what Python takes.\n"


def markdown(results: Results) -> str:
    lines = lines_of(results)
    many = len({line.activations for line in lines}) > 1
    parts = [_machine(results), EXPLANATION.lstrip()]
    for threads in sorted({line.threads for line in lines}):
        speeds = [line for line in lines if line.threads == threads and not line.test.startswith(("first", "peak"))]
        if speeds:
            parts += [f"## Speed, {_threads(threads)}\n", _speed_table(results, speeds, many)]
    firsts = [line for line in lines if line.test.startswith("first")]
    if firsts:
        parts += ["## Time to the first token, seconds\n", FIRST_EXPLANATION.format(threads=_threads(firsts[0].threads)),
                  _first_table(results, firsts, many)]
    peaks = [line for line in lines if line.test == "peak"]
    if peaks:
        parts += ["## Peak resident memory\n", PEAK_EXPLANATION, _peak_table(results, peaks, many)]
    notes = [f"* {model}: {facts['note']}; llama.cpp runs {facts['peer']}"
             for model, facts in results.models.items() if facts["note"]]
    if notes:
        parts += ["## Hub spellings\n", "\n".join(notes) + "\n"]
    if results.failures:
        failed = dict.fromkeys(f"* {f['model']}, {f['engine']}, {f['what']}: {_reason(str(f['message']))}"
                               for f in results.failures)
        parts += ["## Not measured\n", "\n".join(failed) + "\n"]
    return "\n".join(parts)


def _reason(message: str) -> str:
    """The last line, without the folders of this machine."""
    return " ".join(word.rsplit("/", 1)[-1] if word.startswith("/") else word for word in message.strip().splitlines()[-1].split())


def write_page(path: Path, text: str) -> None:
    """Replaces what stands between the markers, and nothing else."""
    page = path.read_text() if path.exists() else NEW_PAGE
    begin, end = page.find(BEGIN), page.find(END)
    if begin < 0 or end < begin:
        raise PeerError(f'{path}: no "{BEGIN}" with "{END}" after it; put these two lines where the tables belong')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page[:begin] + BEGIN + "\n\n" + text + "\n" + page[end:])
