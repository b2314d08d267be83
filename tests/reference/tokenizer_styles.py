"""Tokenizers of every style that mixgrad reads, trained with the package `tokenizers` on a given text."""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(pre_tokenizer, normalizer=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def split(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def train(tokenizer, text, size, special=(), alphabet=()):
    options = {"vocab_size": size, "special_tokens": list(special), "show_progress": False}
    trainer = trainers.BpeTrainer(initial_alphabet=list(alphabet), **options)
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer


def gpt2(text, size):
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))
    train(tokenizer, text, size, ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet())
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def prefix_space(text, size):
    """GPT-2's form with a space before the text and added tokens of every kind."""
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True))
    train(tokenizer, text, size, [], pre_tokenizers.ByteLevel.alphabet())
    add_tokens(tokenizer)
    return tokenizer


def llama3(text, size):
    tokenizer = byte_level(split(LLAMA3), ignore_merges=True)
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    train(tokenizer, text, size, special, pre_tokenizers.ByteLevel.alphabet())
    template = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))]
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def qwen2(text, size):
    tokenizer = byte_level(split(QWEN2), normalizers.NFC())
    train(tokenizer, text, size, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel.alphabet())
    return tokenizer


def llama_decoder():
    return decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )


def llama2(text, size):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    # Trained on words, for a text as one word would have merges across them; used on the whole text.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    train(tokenizer, text, size, ["<unk>", "<s>", "</s>"] + BYTES)
    tokenizer = plain(tokenizer)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = llama_decoder()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


def plain(tokenizer):
    """The same model without a pre-tokenizer."""
    import json

    parts = json.loads(tokenizer.to_str())
    parts["pre_tokenizer"] = None
    special = {"<unk>", "<s>", "</s>"}
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["content"] in special]
    return Tokenizer.from_str(json.dumps(parts))


def unknown(text, size):
    """Llama-2's form without bytes: what the vocabulary lacks becomes <unk>, one for a stretch of it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    ascii_text = "".join(c for c in text if ord(c) < 128)
    train(tokenizer, ascii_text, size, ["<unk>", "<s>", "</s>"])
    tokenizer = plain(tokenizer)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(" ", "\u2581"), normalizers.Prepend("\u2581")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def few_bytes(text, size):
    """Only some bytes have tokens, and unknown characters are not fused."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=False, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    ascii_text = "".join(c for c in text if ord(c) < 128)
    train(tokenizer, ascii_text, size, ["<unk>"] + BYTES[0xA0:0xD4])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return tokenizer


def metaspace(text, size):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    train(tokenizer, text, size, ["<unk>", "<s>", "</s>"] + BYTES)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("\u2581", " ")])
    return tokenizer


def metaspace_first(text, size):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.normalizer = normalizers.NFC()
    train(tokenizer, text, size, ["<unk>"])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    add_tokens(tokenizer)
    return tokenizer


def added(text, size):
    """Qwen2's form with added tokens of every kind, normalised ones among them."""
    tokenizer = byte_level(split(QWEN2), normalizers.NFC())
    train(tokenizer, text, size, ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet())
    add_tokens(tokenizer)
    return tokenizer


def llama2_added(text, size):
    """Llama-2's form, whose normalizers change the added tokens that are normalised."""
    tokenizer = llama2(text, size)
    add_tokens(tokenizer)
    return tokenizer


ADDED = {
    "<special>": {"special": True},
    "<left>": {"lstrip": True},
    "<right>": {"rstrip": True},
    "<both>": {"lstrip": True, "rstrip": True, "normalized": False},
    "<norm>": {"normalized": True},
    "word": {"single_word": True, "normalized": False},
    "[T]": {"single_word": True, "normalized": False},
    "norm": {"single_word": True, "normalized": True},
    "<a": {"normalized": False},
    "<a b": {"normalized": False},
    "<a b>": {"normalized": False, "rstrip": True},
    "caf\u00e9": {"normalized": True},
    "cafe\u0301s": {"normalized": False},
    "  ": {"normalized": False},
}


def add_tokens(tokenizer):
    for content, options in ADDED.items():
        token = AddedToken(content, **{"normalized": False, **options})
        if options.get("special"):
            tokenizer.add_special_tokens([token])
        else:
            tokenizer.add_tokens([token])


STYLES = {
    "gpt2": gpt2,
    "prefix_space": prefix_space,
    "llama3": llama3,
    "qwen2": qwen2,
    "llama2": llama2,
    "unknown": unknown,
    "few_bytes": few_bytes,
    "metaspace": metaspace,
    "metaspace_first": metaspace_first,
    "added": added,
    "llama2_added": llama2_added,
}
