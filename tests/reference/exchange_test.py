"""`mixgrad import` and `mixgrad export` against the package transformers, on small models with random weights.

For every kind of hugging_face_models.def, in several shapes: transformers saves a folder, mixgrad imports it, and
  - the engine's logits, of the whole text and decoded in pieces, are compared with those of transformers in float64;
  - the greedy continuation in f32 is the same for 200 tokens;
  - mixgrad exports what it imported, and every tensor that transformers loads from there has the bits that it had.
Then the other way: models that mixgrad trained are exported, and transformers computes their logits, tokenizes their
text and continues it. Needs transformers, torch, safetensors (pip install torch transformers); run with 2.15 and 5.24.

    python tests/reference/exchange_test.py --binary build/cpu/bin/mixgrad [--seed 1] [--only llama]
    python tests/reference/exchange_test.py --binary build/cpu/bin/mixgrad --fixtures tests/nn/exchange/fixtures
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
import transformers
from safetensors.torch import load_file, save_file

transformers.utils.logging.disable_progress_bar()
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
TOLERANCE = {"f64": 1e-6, "f32": 1e-5, "bf16": 3e-2}
GREEDY = 200

LLAMA = {"vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
         "num_key_value_heads": 6, "max_position_embeddings": 256, "bos_token_id": None, "eos_token_id": None}
GPT2 = {"vocab_size": 91, "n_positions": 256, "n_embd": 48, "n_layer": 3, "n_head": 4, "bos_token_id": None,
        "eos_token_id": None}
MAMBA = {"vocab_size": 83, "hidden_size": 40, "num_hidden_layers": 3, "state_size": 8, "bos_token_id": None,
         "eos_token_id": None, "pad_token_id": None}

# kind -> (name, keys, type of the stored weights, shards)
MODELS = {
    "gpt2": [("tied", GPT2, "float32", 1),
             ("untied, erf, narrow MLP", {**GPT2, "tie_word_embeddings": False, "activation_function": "gelu",
                                          "n_inner": 72, "layer_norm_epsilon": 1e-3}, "float64", 3),
             ("relu, bfloat16", {**GPT2, "activation_function": "relu"}, "bfloat16", 1)],
    "llama": [("untied", LLAMA, "float32", 1),
              ("tied, grouped, another theta", {**LLAMA, "num_key_value_heads": 2, "tie_word_embeddings": True,
                                                "rope_theta": 500.0, "rms_norm_eps": 1e-3}, "float64", 4),
              ("one key/value head, biases, half precision", {**LLAMA, "num_key_value_heads": 1, "attention_bias": True,
                                                              "mlp_bias": True}, "float16", 2)],
    "mistral": [("window", {**LLAMA, "num_key_value_heads": 3, "sliding_window": 7}, "float32", 1),
                ("no window, tied", {**LLAMA, "sliding_window": None, "tie_word_embeddings": True}, "bfloat16", 1)],
    "qwen2": [("grouped", {**LLAMA, "num_key_value_heads": 2}, "float32", 1),
              ("tied, windows in the last layers", {**LLAMA, "use_sliding_window": True, "sliding_window": 9,
                                                    "max_window_layers": 1, "tie_word_embeddings": True}, "float64", 2)],
    "mamba": [("tied", MAMBA, "float32", 1),
              ("untied, other sizes", {**MAMBA, "tie_word_embeddings": False, "state_size": 5, "conv_kernel": 3,
                                       "expand": 3, "time_step_rank": 4, "layer_norm_epsilon": 1e-3}, "float64", 2)],
}
# Options of `mixgrad train` for a model that each kind can express.
TRAINED = {
    "gpt2": "--heads 4 --norm layernorm --positions learned --bias true --mlp gelu --tokenizer bpe:300",
    "llama": "--norm rmsnorm --positions rope --mlp swiglu --heads 4 --kv-heads 2 --tie false --tokenizer char",
    "mistral": "--heads 4 --norm rmsnorm --positions rope --mlp swiglu --mixer attention(window=6) --tokenizer byte",
    "qwen2": "--heads 4 --norm rmsnorm --positions rope --mlp swiglu --mixer attention(qkv_bias=true,kv_heads=2) --tokenizer bpe:280",
    "mamba": "--heads 1 --norm rmsnorm --positions none --mlp none --mixer mamba(o=false) --tokenizer char",
}
TEXT = ("Once upon a time there was a little fox who lived under an old tree. One day the fox found a red ball and "
        "played with it until the sun went down. The next day a bird asked the fox: may I play too?\n") * 8


class Failure(Exception):
    pass


def listed():
    with open(os.path.join(ROOT, "nn", "exchange", "hugging_face", "hugging_face_models.def")) as file:
        return re.findall(r"^HUGGING_FACE_MODEL\((\w+)\)", file.read(), re.M)


def run(binary, *arguments):
    done = subprocess.run([binary, *arguments], capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode != 0:
        raise Failure(f"mixgrad {' '.join(arguments)}\n  ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def randomise(model, generator):
    """Weights of ordinary size, none at its initial value: a swapped norm or a dropped bias would show."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if name.endswith("A_log"):
                value = torch.log(torch.arange(1, parameter.shape[1] + 1, dtype=torch.float64)) + 0.2 * noise
            elif name.endswith(("norm.weight", "layernorm.weight", "norm_f.weight", "mixer.D")) or ".ln_" in name and name.endswith("weight"):
                value = 1 + 0.2 * noise
            elif name.endswith("dt_proj.bias"):
                value = -3 + noise
            elif name.endswith("bias"):
                value = 0.2 * noise
            elif parameter.dim() >= 2:
                value = noise / (parameter[0].numel() ** 0.5)
            else:
                value = 0.2 * noise
            if "embed" in name or "wte" in name or "wpe" in name:
                value = 0.5 * noise
            parameter.copy_(value.to(torch.float16).to(parameter.dtype))  # few digits: the same in every type but bf16


def load(folder, dtype):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    if dtype == torch.float64:
        for module in model.modules():  # Mamba would round the residual stream
            if hasattr(module, "residual_in_fp32"):
                module.residual_in_fp32 = False
    return model.eval()


def logits_of(folder, tokens):
    with torch.no_grad():
        return load(folder, torch.float64)(input_ids=tokens, use_cache=False).logits.double()


def write_case(path, checkpoint, tokens, logits):
    """A conformance case of the imported model with the logits of transformers."""
    with open(os.path.join(checkpoint, "config.json")) as file:
        config = file.read()
    tensors = {"param." + name: value.double() for name, value in
               load_file(os.path.join(checkpoint, "model.safetensors")).items()}
    tensors["in.tokens"] = tokens.int()[None].contiguous()
    tensors["in.targets"] = torch.full_like(tensors["in.tokens"], -1)
    tensors["out.logits"] = logits.contiguous()
    save_file(tensors, path, metadata={"format": "mixgrad-conformance-1", "config": config})


def compare_logits(binary, folder, checkpoint, tokens, logits):
    case = os.path.join(folder, "case.safetensors")
    write_case(case, checkpoint, tokens, logits)
    figures = []
    for precision, tolerance in TOLERANCE.items():
        done = subprocess.run([binary, "conform", case, "--precision", precision, "--json"], capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise Failure(f"conform: {done.stderr.strip()}")
        result = json.loads(done.stdout)
        worst = max(result["logits"], result["decode"])
        figures.append(f"{precision} {worst:.1e}")
        if not worst <= tolerance:
            raise Failure(f"logits in {precision}: {worst:.2e} of the largest, {tolerance:.0e} allowed")
    return ", ".join(figures)


def greedy_of(folder, prompt):
    model = load(folder, torch.float32)
    with torch.no_grad():
        ids = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=GREEDY, min_new_tokens=GREEDY)
    return ids[0].tolist()


def same_tensors(first, second):
    one, other = load(first, "auto").state_dict(), load(second, "auto").state_dict()
    if one.keys() != other.keys():
        raise Failure(f"tensors differ: {sorted(one.keys() ^ other.keys())}")
    for name, value in one.items():
        wide = torch.float32 if value.dtype == torch.float16 else value.dtype  # F16 is stored as F32
        if other[name].dtype != wide or not torch.equal(value.to(wide), other[name]):
            raise Failure(f"import and export changed {name}: {value.dtype} {other[name].dtype}")


def imported(binary, folder, kind, keys, dtype, shards, generator):
    config = transformers.AutoConfig.for_model(kind, **keys)
    model = transformers.AutoModelForCausalLM.from_config(config).to(getattr(torch, dtype))
    randomise(model, generator)
    theirs, ours, again = (os.path.join(folder, name) for name in ("theirs", "ours", "again"))
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(theirs, max_shard_size=size + 4096 if shards == 1 else max(size // shards, 4096))
    if (shards > 1) != os.path.exists(os.path.join(theirs, "model.safetensors.index.json")):
        raise Failure("transformers wrote another number of files than this test needs")
    context = [] if kind != "mamba" else ["--context", "256"]
    run(binary, "import", theirs, "--out", ours, *context)
    run(binary, "export", ours, "--format", "hf", "--out", again)
    same_tensors(theirs, again)
    tokens = torch.randint(0, keys["vocab_size"], (2, 40), generator=generator)
    logits = logits_of(theirs, tokens)
    if not torch.equal(logits, logits_of(again, tokens)):
        raise Failure("transformers computes other logits from the folder that was imported and exported")
    figures = compare_logits(binary, folder, ours, tokens, logits)
    prompt = tokens[0, :12].tolist()
    text = " ".join(map(str, prompt)) + " "
    output = run(binary, "generate", "--checkpoint", ours, "--prompt", text, "--tokens", str(GREEDY), "--temperature", "0")
    compare_greedy([int(word) for word in output.split()], greedy_of(theirs, prompt))
    return figures


def compare_greedy(ours, theirs):
    if ours == theirs:
        return
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    raise Failure(f"greedy continuations of {len(ours)} and {len(theirs)} tokens differ from token {at} on")


def exported(binary, folder, kind):
    text, checkpoint, theirs = (os.path.join(folder, name) for name in ("text.txt", "run", "theirs"))
    with open(text, "w") as file:
        file.write(TEXT)
    hidden = [] if kind == "mamba" else ["--d-ff", "48"]
    run(binary, "train", "--data", text, "--out", checkpoint, "--layers", "3", "--d-model", "32", *hidden, "--context", "256",
        "--batch", "2", "--steps", "40", "--lr", "0.003", "--threads", "1", *TRAINED[kind].split())
    run(binary, "export", checkpoint, "--format", "hf", "--out", theirs)
    with open(os.path.join(theirs, "config.json")) as file:
        if json.load(file)["model_type"] != kind:
            raise Failure("export wrote another kind")
    tokenizer = transformers.AutoTokenizer.from_pretrained(theirs)
    ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    if ids != [int(word) for word in run(binary, "tokenize", "--tokenizer", checkpoint, text).split()]:
        raise Failure("the exported tokenizer has other ids")
    if tokenizer.decode(ids) != TEXT:
        raise Failure("the exported tokenizer does not give the text back")
    tokens = torch.tensor([ids[:40], ids[5:45]])
    figures = compare_logits(binary, folder, os.path.join(checkpoint, "latest"), tokens, logits_of(theirs, tokens))
    prompt = "Once upon"
    start = tokenizer(prompt, add_special_tokens=False).input_ids
    new = GREEDY if len(start) + GREEDY <= 256 else 256 - len(start)
    output = run(binary, "generate", "--checkpoint", checkpoint, "--prompt", prompt, "--tokens", str(new), "--temperature", "0")
    if output != tokenizer.decode(greedy_of(theirs, start)[:len(start) + new]) + "\n":
        raise Failure("transformers continues the text otherwise")
    again = os.path.join(folder, "again")
    run(binary, "import", theirs, "--out", again)
    before, after = (load_file(os.path.join(path, "model.safetensors")) for path in
                     (os.path.join(checkpoint, "latest"), again))
    if before.keys() != after.keys() or any(not torch.equal(before[name], after[name]) for name in before):
        raise Failure("export and import changed a tensor")
    return figures


# Small enough to be kept beside the tests: kind -> (keys, type of the weights, shards)
TINY = {"vocab_size": 11, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 16, "bos_token_id": None, "eos_token_id": None}
FIXTURES = {
    "gpt2": ({"vocab_size": 11, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": None,
              "eos_token_id": None}, "float32", 1),
    "llama": ({**TINY, "rope_theta": 50.0}, "float16", 2),
    "mistral": ({**TINY, "sliding_window": 3, "tie_word_embeddings": True}, "bfloat16", 1),
    "qwen2": ({**TINY, "use_sliding_window": True, "sliding_window": 2, "max_window_layers": 1}, "float32", 1),
    "mamba": ({"vocab_size": 11, "hidden_size": 6, "num_hidden_layers": 2, "state_size": 3, "time_step_rank": 2,
               "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}, "float32", 1),
}


def write_fixtures(folder, kinds, generator):
    for kind in kinds:
        keys, dtype, shards = FIXTURES[kind]
        path = os.path.join(folder, kind)
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **keys))
        model = model.to(getattr(torch, dtype))
        randomise(model, generator)
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        model.save_pretrained(path, **({"max_shard_size": size // shards + 200} if shards > 1 else {}))
        tokens = torch.randint(0, keys["vocab_size"], (2, 9), generator=generator)
        save_file({"tokens": tokens.int(), "logits": logits_of(path, tokens)}, os.path.join(path, "expected.safetensors"))
        config_path = os.path.join(path, "config.json")
        os.remove(os.path.join(path, "generation_config.json"))
        with open(config_path) as file:
            config = json.load(file)
        with open(config_path, "w") as file:
            json.dump({key: value for key, value in config.items() if key != "transformers_version"}, file, indent=2)
            file.write("\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one kind")
    parser.add_argument("--fixtures", metavar="FOLDER", help="only write the fixtures of tests/nn/exchange there")
    arguments = parser.parse_args()
    kinds = listed()
    missing = [kind for kind in kinds if kind not in MODELS or kind not in TRAINED or kind not in FIXTURES]
    if missing:
        print(f"exchange_test.py: hugging_face_models.def has {missing}, which this test lacks")
        return 1
    generator = torch.Generator().manual_seed(arguments.seed)
    if arguments.fixtures:
        write_fixtures(arguments.fixtures, [kind for kind in kinds if arguments.only in (None, kind)], generator)
        return 0
    failures = count = 0
    for kind in kinds:
        if arguments.only not in (None, kind):
            continue
        cases = [(f"import {kind}, {name}", lambda folder, r=rest, k=kind: imported(arguments.binary, folder, k, *r, generator))
                 for name, *rest in MODELS[kind]]
        cases.append((f"export {kind}, trained", lambda folder, k=kind: exported(arguments.binary, folder, k)))
        for name, case in cases:
            count += 1
            with tempfile.TemporaryDirectory() as folder:
                try:
                    print(f"ok    {name}: {case(folder)}")
                except Failure as failure:
                    failures += 1
                    print(f"FAIL  {name}: {failure}")
            sys.stdout.flush()
    print(f"{count - failures} of {count} models agree with transformers {transformers.__version__}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
