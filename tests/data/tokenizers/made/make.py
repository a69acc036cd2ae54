"""Makes the small tokenizers of this folder and what the reference libraries give for them (PROVENANCE.md names the versions).

usage: make.py ALICE.txt   (models/text/alice.txt of this repository)
"""
import base64
import json
import os
import sys

import sentencepiece
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders as D, models as M, normalizers as N
from tokenizers import pre_tokenizers as P, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
ALICE = open(sys.argv[1], encoding="utf-8").read()[:60000].split("\n")
CORPUS = ALICE + ["日本語 カタカナ ひらがな 漢字", "Привет, мир!", "café naïve", "price 123,456.78"] * 3
TEXTS = [
    "", " ", "a", "Hello, world!", "  leading", "trailing  ", "a  b   c\td\n\ne", "e\u0301 é ﬁ ½ ² Å ｆｕｌｌ", "👨‍👩‍👧 👍🏽 🇩🇪🇫🇷",
    "مرحبا ١٢٣", "日本語テキスト。カタカナー", "한국어", "\u0001x\u007f\u0085y", "\u200b\ufeffx\u00ad", "ẞßİıſ", "<unk> <s> <pad>|",
    "don't I'll WE'VE", "x" * 120, "the the the the", "\u2581a\u2581 b", "①②Ⅷ", "नमस्ते", "12345 67", "a.b,c;d!e?", "##ing un##able",
    "cat concat cat. tokenab  tokena", "<0x41> ab", "Alice was beginning to get very tired of sitting by her sister on the bank",
    "cafe\u0301 CAFÉ", "do not do not ' x", "a\u3000b\u00a0c", "Привет мир price 123,456.78",
]
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]


def write(name, file, content):
    os.makedirs(os.path.join(HERE, name), exist_ok=True)
    with open(os.path.join(HERE, name, file), "wb") as out:
        out.write(content)


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def small_rules():
    """A charsmap of a few rules, made by SentencePiece's trainer."""
    with open("/tmp/rules.tsv", "w") as out:
        for source, target in [("ﬁ", "fi"), ("½", "1/2"), ("\t", " "), ("\n", " "), ("\u3000", " "), ("Å", "A"), ("e\u0301", "é"), ("\u200b", "")]:
            out.write(" ".join("%X" % ord(c) for c in source) + "\t" + " ".join("%X" % ord(c) for c in target) + "\n")
    return "/tmp/rules.tsv"


def train_sentencepiece(path, **options):
    with open("/tmp/corpus.txt", "w", encoding="utf-8") as out:
        out.write("\n".join(line for line in CORPUS if line.strip()))
    sentencepiece.SentencePieceTrainer.train(input="/tmp/corpus.txt", model_prefix=path, minloglevel=2, hard_vocab_limit=False,
                                             normalization_rule_tsv=small_rules(), character_coverage=0.98, **options)
    return sentencepiece.SentencePieceProcessor(model_file=path + ".model")


def charsmap():
    from sentencepiece import sentencepiece_model_pb2 as pb
    train_sentencepiece("/tmp/rules", vocab_size=120, model_type="unigram")
    proto = pb.ModelProto()
    proto.ParseFromString(open("/tmp/rules.model", "rb").read())
    return proto.normalizer_spec.precompiled_charsmap


def hub(name, model, trainer, normalizer, pre, decoder, added=(), template=None, edit=None):
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, pre, decoder
    tokenizer.train_from_iterator(CORPUS, trainer)
    if edit:
        spec = json.loads(tokenizer.to_str())
        edit(spec)
        tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.add_tokens(list(added))
    if template:
        special = [(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, pair=template + " $B", special_tokens=special)
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    records = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        records.append({"text": text, "ids": ids, "ids_no_special": tokenizer.encode(text, add_special_tokens=False).ids,
                        "decoded_skip_special": tokenizer.decode(ids), "decoded_with_special": tokenizer.decode(ids, skip_special_tokens=False)})
    write(name, "tokenizer.json", json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False).encode())
    write(name, "golden.jsonl", lines(records))


def bytes_as_tokens(spec):
    spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].startswith("<0x")]
    spec["model"]["byte_fallback"] = True


def string_merges(spec):
    spec["model"]["merges"] = [" ".join(merge) for merge in spec["model"]["merges"]]


def main():
    byte_tokens = ["<0x%02X>" % b for b in range(256)]
    hub("unigram-precompiled", M.Unigram(), trainers.UnigramTrainer(vocab_size=420, special_tokens=SPECIAL + byte_tokens, unk_token="<unk>", show_progress=False),
        N.Sequence([N.Precompiled(charsmap()), N.Nmt(), N.Replace(Regex(" {2,}"), " "), N.Strip(left=False, right=True)]),
        P.Metaspace(prepend_scheme="first"), D.Sequence([D.ByteFallback(), D.Metaspace(prepend_scheme="first")]), template="$A </s>", edit=bytes_as_tokens)
    hub("wordpiece-scripts", M.WordPiece(unk_token="<unk>", max_input_chars_per_word=12), trainers.WordPieceTrainer(vocab_size=190, limit_alphabet=70, special_tokens=SPECIAL, show_progress=False),
        N.BertNormalizer(strip_accents=False, lowercase=False), P.Sequence([P.Whitespace(), P.UnicodeScripts(), P.Punctuation("contiguous"), P.FixedLength(9)]),
        D.WordPiece(), template="<s> $A </s>")
    hub("bpe-suffix", M.BPE(unk_token="<unk>", fuse_unk=True, end_of_word_suffix="</w>"),
        trainers.BpeTrainer(vocab_size=220, limit_alphabet=60, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False),
        N.Sequence([N.NFD(), N.Lowercase(), N.StripAccents()]), P.Sequence([P.Split(Regex(r"\w+|'s"), "merged_with_previous"), P.WhitespaceSplit(), P.Digits(True)]),
        D.BPEDecoder(), edit=string_merges,
        added=[AddedToken("tokenab", lstrip=True, normalized=False), AddedToken("cat", single_word=True, normalized=True), AddedToken("tokena", rstrip=True)])
    hub("bpe-bytes", M.BPE(byte_fallback=True, ignore_merges=True, continuing_subword_prefix="_"),
        trainers.BpeTrainer(vocab_size=460, limit_alphabet=60, special_tokens=SPECIAL + byte_tokens, continuing_subword_prefix="_", show_progress=False),
        N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")]), None,
        D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]), template="<s> $A", edit=bytes_as_tokens)
    hub("wordlevel-bytes", M.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(vocab_size=150, special_tokens=SPECIAL, show_progress=False),
        N.ByteLevel(), P.Split("Ġ", "merged_with_next"), D.ByteLevel())

    model = train_sentencepiece("/tmp/sp", vocab_size=420, model_type="unigram", byte_fallback=True, user_defined_symbols=["<sep>", "cat", "tokenab"])
    write("sentencepiece", "tokenizer.model", open("/tmp/sp.model", "rb").read())
    texts = [t for t in TEXTS if "<s>" not in t]
    write("sentencepiece", "golden.jsonl", lines({"text": t, "ids": model.encode(t), "decoded": model.decode(model.encode(t))} for t in texts))

    ranks, data = {bytes([b]): b for b in range(256)}, "\n".join(ALICE).encode()
    symbols = [bytes([b]) for b in data]
    for rank in range(256, 420):  # plain byte-pair merges of the text
        counts = {}
        for pair in zip(symbols, symbols[1:]):
            counts[pair] = counts.get(pair, 0) + 1
        best = max(counts, key=lambda pair: (counts[pair], pair))
        ranks[best[0] + best[1]] = rank
        merged, i = [], 0
        while i < len(symbols):
            step = 2 if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == best else 1
            merged.append(b"".join(symbols[i:i + step]))
            i += step
        symbols = merged
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    encoding = tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    write("tiktoken", "tiktoken.model", b"".join(base64.b64encode(k) + b" %d\n" % v for k, v in ranks.items()))
    write("tiktoken", "golden.jsonl", lines({"text": t, "ids": encoding.encode(t), "decoded": encoding.decode(encoding.encode(t))} for t in TEXTS))


main()
