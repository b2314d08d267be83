"""A conformance case: everything that a model must compute from one set of parameters and a few batches."""

import json

import torch

import config as model_config
import mixers
import safetensors_file
from model import AdamW, forward, gradients_of

FORMAT = "mixgrad-conformance-1"


def expected(config, train, parameters, tokens, targets, window):
    """parameters {name: tensor}, tokens and targets [K, B, T]. Returns {tensor name of the case: value}.

    out.logits, out.loss, grad.*, probe.*: batch 0 with the given parameters; out.step_losses [K]: the loss before each
    of K steps of AdamW on batches 0 … K−1; after.*: the parameters after them."""
    tensors = {}
    with torch.no_grad():
        logits, weights, depth_mass = forward(config, parameters, tokens[0].long())
    tensors["out.logits"] = logits
    for number, heads in weights.items():
        if heads:
            tensors[f"probe.recency.{number}"] = torch.stack([mixers.recency(head, window) for head in heads])
    if depth_mass is not None:
        tensors["probe.depth_mass"] = depth_mass
    optimizer = AdamW(train, parameters)
    after, losses = parameters, []
    for step in range(tokens.shape[0]):
        loss, gradients = gradients_of(config, after, tokens[step].long(), targets[step])
        if step == 0:
            tensors["out.loss"] = loss.reshape(1)
            tensors.update({"grad." + name: gradient for name, gradient in gradients.items()})
        losses.append(loss)
        after = optimizer.step(after, gradients)
    tensors["out.step_losses"] = torch.stack(losses)
    tensors.update({"after." + name: value for name, value in after.items()})
    return tensors


def write(path, config, train, parameters, tokens, targets, window, computed):
    """`computed` is what expected(...) returned for the others."""
    tensors = dict(computed)
    tensors["in.tokens"], tensors["in.targets"] = tokens, targets
    tensors.update({"param." + name: value for name, value in parameters.items()})
    metadata = {
        "format": FORMAT,
        "config": json.dumps(config),
        "train": json.dumps(train),
        "recency_window": str(window),
    }
    safetensors_file.write(path, tensors, metadata)


def read(path):
    """Returns config, train, parameters, tokens, targets, window and {name: tensor} of the rest, checked for shape."""
    tensors, metadata = safetensors_file.read(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"metadata 'format' must be {FORMAT}, found {metadata.get('format')!r}")
    config = json.loads(metadata["config"])
    model_config.check(config)
    shapes = model_config.parameter_shapes(config)
    found = {name[6:]: list(value.shape) for name, value in tensors.items() if name.startswith("param.")}
    if found != shapes:
        wrong = sorted(name for name in {**shapes, **found} if found.get(name) != shapes.get(name))
        raise ValueError(f"param.{wrong[0]} must be {shapes.get(wrong[0])}, found {found.get(wrong[0])}")
    parameters = {name: tensors.pop("param." + name) for name in shapes}
    tokens, targets = tensors.pop("in.tokens"), tensors.pop("in.targets")
    window = int(metadata.get("recency_window", "0"))
    return config, json.loads(metadata["train"]), parameters, tokens, targets, window, tensors
