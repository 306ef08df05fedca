"""Graft's random numbers (src/base/random.h), so that a peer that draws can be given the same ones."""

import contextlib
import math

import torch

MASK = 2**64 - 1


def mixed(x):
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def key_with(key, *parts):
    """key.with(part) of each part, a number or a word."""
    for part in parts:
        if isinstance(part, str):
            value = 0xCBF29CE484222325
            for byte in part.encode():
                value = (value ^ byte) * 0x100000001B3 & MASK
            part = value ^ (len(part.encode()) << 56 & MASK)
        key = mixed((key * 0x9E3779B97F4A7C15 + mixed((part + 0x632BE59BD9B4E019) & MASK)) & MASK)
    return key


def key_of(*parts):
    return key_with(0, *parts)


def philox(key, low=0, high=0):
    """Philox4x32-10 at a counter."""
    c = [low & 0xFFFFFFFF, low >> 32, high & 0xFFFFFFFF, high >> 32]
    k = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [k[0] + 0x9E3779B9 & 0xFFFFFFFF, k[1] + 0xBB67AE85 & 0xFFFFFFFF]
    return c


def uniform_at(key, low, high):
    words = philox(key, low, high)
    return ((words[0] << 21) | (words[1] >> 11)) * 2.0**-53 + 2.0**-54


@contextlib.contextmanager
def of_beams(seed, example, vocabulary):
    """torch.multinomial without replacement, over [1, beams * vocabulary], by the numbers of an example's beams: the largest log p + Gumbel noise."""
    position, plain = 0, torch.multinomial

    def multinomial(p, num_samples):
        nonlocal position
        key = key_of("beams", seed, example, position)
        position += 1
        noise = [-math.log(-math.log(uniform_at(key, i % vocabulary, i // vocabulary))) for i in range(p.shape[1])]
        return torch.topk(p.double().log() + torch.tensor([noise], dtype=torch.float64), num_samples).indices

    torch.multinomial = multinomial
    try:
        yield
    finally:
        torch.multinomial = plain
