"""The memory bank of UCCH: a code a training sample, to choose among more than a batch has."""

from keras import ops

from scbch_keras.layers import unit_norm


def bank_contrast(image_codes, text_codes, memory, draws, temperature, sample_weight=None):
    """Each code finds its own sample's binary code among those that were drawn from the bank.

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        memory: (N, bits), the bank; only its signs are read.
        draws: (n, K + 1), rows of the bank, a sample's own first; any may be there again.
        temperature: float > 0.
        sample_weight: (n,) or None; what was drawn counts the same whatever its weight.

    Returns:
        Scalar > 0: the sum over both modalities of 1/n * sum_i -log softmax_k(h_i . b_k / temperature) at i's own, over
        its draws k, with b = sign(memory) / sqrt(bits).
    """
    binary = ops.where(memory > 0, 1.0, -1.0) / image_codes.shape[1] ** 0.5
    total = 0.0
    for codes in (image_codes, text_codes):
        scores = ops.matmul(codes, ops.transpose(binary)) / temperature
        logits = ops.take_along_axis(scores, draws, axis=1)
        total = total + ops.logsumexp(logits, axis=1) - logits[:, 0]
    return ops.mean(total if sample_weight is None else ops.cast(sample_weight, "float32") * total)


def moved_rows(image_codes, text_codes, before, momentum):
    """The rows (n, bits) of a batch's samples in the bank, drawn to the mean of their two codes.

    Args:
        image_codes: (n, bits).
        text_codes: (n, bits).
        before: (n, bits), the rows as they are.
        momentum: float in [0, 1], what is kept of them.

    Returns:
        (n, bits), unit norm.
    """
    mean = unit_norm(image_codes + text_codes)
    return unit_norm(momentum * before + (1 - momentum) * mean)
