"""Makes tokenizers/: small vocabularies, and what transformers makes of hard texts.

    python tests/golden/make_tokenizers.py tests/golden/tokenizers

It trains a vocabulary of each kind on this project's own README and the hard texts, has
transformers load it from its files, and writes the ids of every hard text beside them.
Made with transformers 5.23.0, tokenizers 0.23.3.
"""

import json
import sys
from pathlib import Path

import transformers
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

README = Path(__file__).parent.parent.parent / "README.md"
SIZE = 900

HARD = {
    "empty": "",
    "one space": " ",
    "spaces": "   two  spaces \t around \n\n ",
    "accents": "Ünïcödé naïve café cafe\u0301 ÅNGSTRÖM Straße İstanbul",
    "cjk": "我爱自然语言处理。東京タワー 한국어 텍스트",
    "emoji": "👩‍👩‍👧‍👦 👍🏽 🇫🇷 ☃️ 💩!",
    "controls": "zero\u200bwidth nul\x00 bell\x07 hard\u00a0space \ufeffmark \ufffd",
    "digits": "3.14159, 1,000,000 and 2026-11-22T00:00:00Z ½ Ⅷ ٣",
    "long word": "pneumono" + "ultra" * 60 + "microscopic",
    "long run": "=" * 300,
    "contractions": "Don't we've they'll I'M O'Neill's 'tis",
    "marks": 'He said: "stop!" ... -- (e-mail@example.com) #tag $5 50% a_b',
    "special": "[CLS] a [MASK] [UNK] <s> b </s> <mask> <|endoftext|> <pad> c",
    "scripts": "Привет, мир! שלום العربية हिन्दी ไทย Ελληνικά",
    "code": "def f(x):\n\treturn x**2  # ok\r\n",
    "plain": "A dataset through a frozen network, once.",
    "surrogates": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 🜁",
    "upper": "SHOUTING IN CAPITALS ÀÉÎ",
}


def train_words(texts: list[str]) -> list[str]:
    """Returns the words of a vocabulary of BERT's kind."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=SIZE, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocab = tokenizer.get_vocab()
    return sorted(vocab, key=vocab.__getitem__)


def train_bytes(
    texts: list[str], special: list[str], suffix: str = ""
) -> tuple[dict[str, int], list[str]]:
    """Returns a vocabulary of pairs of bytes, and the pairs in order."""
    ending = {"end_of_word_suffix": suffix} if suffix else {}
    tokenizer = Tokenizer(models.BPE(**ending))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        **ending,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    pairs = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    vocab = model["vocab"]
    if suffix:  # CLIP's has every byte at a word's end too
        for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
            vocab.setdefault(byte + suffix, len(vocab))
    return vocab, pairs


def write_bytes(folder: Path, vocab: dict[str, int], pairs: list[str]) -> None:
    """Writes `vocab.json` and `merges.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(vocab, ensure_ascii=False, separators=(",", ":"))
    (folder / "vocab.json").write_text(text)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs]) + "\n")


def dump(value: object) -> str:
    """Writes a value in one line."""
    return json.dumps(value, separators=(",", ":"))


def main(folder: Path) -> None:
    """Writes all of them."""
    texts = [*README.read_text().splitlines(), *HARD.values()]
    (folder / "bert").mkdir(parents=True, exist_ok=True)
    (folder / "bert" / "vocab.txt").write_text("\n".join(train_words(texts)) + "\n")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    write_bytes(folder / "roberta", *train_bytes(texts, special))
    write_bytes(folder / "gpt2", *train_bytes(texts, ["<|endoftext|>"]))
    lower = [text.lower() for text in texts]
    ends = ["<|startoftext|>", "<|endoftext|>"]
    write_bytes(folder / "clip", *train_bytes(lower, ends, "</w>"))
    ids = {}
    for kind, loader in (
        ("bert", transformers.BertTokenizer),
        ("roberta", transformers.RobertaTokenizer),
        ("gpt2", transformers.GPT2Tokenizer),
        ("clip", transformers.CLIPTokenizer),
    ):
        tokenizer = loader.from_pretrained(folder / kind)
        ids[kind] = {name: tokenizer(text)["input_ids"] for name, text in HARD.items()}
        # What transformers writes itself is another way to the same ids.
        tokenizer.save_pretrained(folder / f"{kind}-saved")
        for file in (folder / f"{kind}-saved").iterdir():
            if file.name != "tokenizer.json":
                file.unlink()
            else:
                file.write_text(dump(json.loads(file.read_text())) + "\n")
    entries = [
        f'"{part}": {{\n'
        + ",\n".join(f'  "{name}": {dump(value)}' for name, value in values.items())
        + "\n}"
        for part, values in (("texts", HARD), *ids.items())
    ]
    (folder / "hard.json").write_text("{\n" + ",\n".join(entries) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
