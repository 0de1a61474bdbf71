"""The terms of the baselines' objectives, each a function of keras.ops.

Codes are continuous, (n, bits), one matrix a modality, rows paired. A term follows its authors' published code;
equation numbers are missing because the papers' texts were not at hand to check them against.

A `sample_weight` (n,) weighs the terms of single samples, and a pair by the product of its two samples, under
unchanged denominators. Inside a softmax it counts how often a sample is there: with equal weights the softmax is
that of the plain batch, and a sample of weight 0 is no one's negative.
"""

from keras import ops

from scbch_keras.losses import own_pairs

# Added to a logit to take it out of a softmax; finite, so that a batch of weight 0 has the gradient 0, not NaN.
_EXCLUDED = -1e9


def shares_label(labels):
    """Whether two samples share a label, (n, n) 0/1, of labels (n, C) 0/1."""
    labels = ops.cast(labels, "float32")
    return ops.cast(ops.matmul(labels, ops.transpose(labels)) > 0, "float32")


# DCMH


def pairwise_likelihood(image_codes, text_codes, sharing, sample_weight=None):
    """Negative log-likelihood of which pairs share a label (DCMH).

    Args:
        image_codes: (n, bits), F, of values near -1 and 1.
        text_codes: (n, bits), G.
        sharing: (n, n), 0/1, S.
        sample_weight: (n,) or None.

    Returns:
        Scalar > 0: 1/n^2 * sum_ij log(1 + exp(Theta_ij)) - S_ij Theta_ij, with Theta = F G^T / 2.
    """
    weight, _ = _weights(image_codes, sample_weight)
    theta = ops.matmul(image_codes, ops.transpose(text_codes)) / 2
    return ops.mean(weight[:, None] * weight[None, :] * (ops.softplus(theta) - sharing * theta))


def unified_quantization(image_codes, text_codes, sample_weight=None):
    """Distance of both modalities' codes from one binary code, B = sign(F + G) (DCMH).

    No gradient flows through B.

    Args:
        image_codes: (n, bits), F, of values near -1 and 1.
        text_codes: (n, bits), G.
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0: 1/n^2 * sum_i |B_i - F_i|^2 + |B_i - G_i|^2.
    """
    weight, _ = _weights(image_codes, sample_weight)
    binary = ops.where(image_codes + text_codes > 0, 1.0, -1.0)
    distance = ops.square(binary - image_codes) + ops.square(binary - text_codes)
    return ops.mean(weight * ops.sum(distance, axis=1)) / _rows(image_codes)


def bit_balance(image_codes, text_codes, sample_weight=None):
    """How far each bit is from being as often 1 as -1 (DCMH).

    Args:
        image_codes: (n, bits), F.
        text_codes: (n, bits), G.
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0: 1/n^2 * (|sum_i F_i|^2 + |sum_i G_i|^2).
    """
    weight, _ = _weights(image_codes, sample_weight)
    means = [ops.mean(weight[:, None] * codes, axis=0) for codes in (image_codes, text_codes)]
    return sum(ops.sum(ops.square(mean)) for mean in means)


# UCCH


def instance_contrast(image_codes, text_codes, temperature, sample_weight=None):
    """Each code finds its own pair's binary code among those of the batch (UCCH).

    No gradient flows through the binary codes.

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        temperature: float > 0.
        sample_weight: (n,) or None.

    Returns:
        Scalar > 0: the sum over both modalities of 1/n * sum_i -log softmax_j(h_i . b_j / temperature) at j = i,
        with b_j = sign(h^1_j + h^2_j) / sqrt(bits).
    """
    binary = ops.where(image_codes + text_codes > 0, 1.0, -1.0) / image_codes.shape[1] ** 0.5
    return sum(
        _cross_entropy(ops.matmul(codes, ops.transpose(binary)) / temperature, sample_weight)
        for codes in (image_codes, text_codes)
    )


def cross_modal_ranking(image_codes, text_codes, margin, shift, sample_weight=None):
    """Each sample's own pair is ranked before all others, hard ones counting most (UCCH).

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        margin: float: how close to the own pair's score a negative is hard.
        shift: float, by which the scores of the other negatives are lowered.
        sample_weight: (n,) or None.

    Returns:
        Scalar: the sum over both directions of 1/n * sum_i margin - S_ii + log sum_j exp(N_ij), with N = S where
        S_ij >= S_ii - margin and S - shift elsewhere, without a gradient through the comparison.
    """
    scores = ops.matmul(image_codes, ops.transpose(text_codes))
    return sum(
        _cross_entropy(_lowered(anchored, margin, shift), sample_weight, margin)
        for anchored in (scores, ops.transpose(scores))
    )


# InfoNCE


def info_nce(image_codes, text_codes, temperature, sample_weight=None):
    """Symmetric cross-entropy over a batch: which text belongs to an image, and which image to a text (CLIP).

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        temperature: float > 0.
        sample_weight: (n,) or None.

    Returns:
        Scalar > 0: 1/2 the sum over both directions of 1/n * sum_i -log softmax_j(S_ij / temperature) at j = i.
    """
    logits = ops.matmul(image_codes, ops.transpose(text_codes)) / temperature
    directions = (logits, ops.transpose(logits))
    return sum(_cross_entropy(anchored, sample_weight) for anchored in directions) / 2


# NRCH


def robust_contrast(image_codes, text_codes, sharing, margin, shift, sample_weight=None):
    """Only a sample's own pair attracts, and only samples that share no label repel (NRCH).

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        sharing: (n, n), 0/1; the diagonal is not read.
        margin: float: how close to the own pair's score a negative is hard.
        shift: float, by which the scores of the other negatives are lowered.
        sample_weight: (n,) or None.

    Returns:
        Scalar: the sum over both directions of 1/n * sum_i margin - S_ii + log(exp(max(S_ii, 0)) +
        sum_{j != i} exp((1 - sharing_ij) N_ij)), with N as in `cross_modal_ranking`.
    """
    scores = ops.matmul(image_codes, ops.transpose(text_codes))
    identity = own_pairs(scores)
    total = 0.0
    for anchored in (scores, ops.transpose(scores)):
        negatives = (1 - identity) * (1 - sharing) * _lowered(anchored, margin, shift)
        logits = negatives + identity * ops.relu(anchored)
        total = total + _cross_entropy(logits, sample_weight, margin, ops.diagonal(anchored))
    return total


def magnitude_gap(image_codes, text_codes, sample_weight=None):
    """Distance of the codes' magnitudes from those of a binary code of unit norm (NRCH).

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0: the sum over both modalities of the mean of (|h| - 1 / sqrt(bits))^2.
    """
    weight, _ = _weights(image_codes, sample_weight)
    target = image_codes.shape[1] ** -0.5
    gaps = [ops.mean(ops.square(ops.abs(codes) - target), axis=1) for codes in (image_codes, text_codes)]
    return ops.mean(weight * sum(gaps))


def center_errors(labels, image_codes, text_codes, centers):
    """Squared error of each label predicted by the codes' products with the class centers (NRCH).

    No gradient flows into the codes.

    Args:
        labels: (n, C), 0/1.
        image_codes: (n, bits).
        text_codes: (n, bits).
        centers: (bits, C).

    Returns:
        (n, C) >= 0: (2y - 1 - h^1 . c)^2 + (2y - 1 - h^2 . c)^2.
    """
    signs = 2 * ops.cast(labels, "float32") - 1
    return sum(
        ops.square(signs - ops.matmul(ops.stop_gradient(codes), centers))
        for codes in (image_codes, text_codes)
    )


# RSHNL


def pair_contrast(image_codes, text_codes, temperature, q, sample_weight=None):
    """Each of the 2n codes of a batch finds the other one of its pair, by the robust loss (RSHNL).

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        temperature: float > 0.
        q: float in (0, 1]; see `robust_loss`.
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0: 1/n * sum_i l(p_i), over all 2n codes, p_i being the softmax of h_i . h_j / temperature over the
        2n - 1 others at the other code of the pair.
    """
    codes = ops.concatenate([image_codes, text_codes])
    weight, log_weight = (ops.tile(values, [2]) for values in _weights(image_codes, sample_weight))
    logits = ops.matmul(codes, ops.transpose(codes)) / temperature + log_weight[None, :]
    logits = logits + _EXCLUDED * own_pairs(logits)
    own = ops.tile(ops.sum(image_codes * text_codes, axis=1), [2]) / temperature + log_weight
    return 2 * ops.mean(weight * robust_loss(own - ops.logsumexp(logits, axis=1), q))


def center_aggregation(labels, image_codes, text_codes, centers, q):
    """How far a sample's two codes are from the centers of its labels (RSHNL).

    Args:
        labels: (n, C), 0/1.
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        centers: (C, bits), unit norm.
        q: float in (0, 1]; see `robust_loss`.

    Returns:
        (n,) >= 0: l(p^1) + l(p^2), p being the sum over the sample's labels of softmax_c(h . center_c); 0 for a
        sample without labels.
    """
    labels = ops.cast(labels, "float32")
    absent = _EXCLUDED * (1 - labels)
    labelled = ops.max(labels, axis=1)
    total = 0.0
    for codes in (image_codes, text_codes):
        logits = ops.matmul(codes, ops.transpose(centers))
        log_p = ops.logsumexp(logits + absent, axis=1) - ops.logsumexp(logits, axis=1)
        total = total + labelled * robust_loss(log_p, q)
    return total


def robust_loss(log_p, q):
    """(1 - q) (1 - p^q) / q + q (1 - p): from nearly -log p (q near 0) to 1 - p (q = 1), as RSHNL has it.

    Args:
        log_p: logarithm of the probability p of what is right, any shape.
        q: float in (0, 1].

    Returns:
        The loss, >= 0, of the same shape.
    """
    return (1 - q) * (1 - ops.exp(q * log_p)) / q + q * (1 - ops.exp(log_p))


def _cross_entropy(logits, sample_weight, margin=0.0, own=None):
    """1/n * sum_i w_i (margin - own_i + log sum_j exp(logits_ij)), own being the diagonal unless given."""
    weight, log_weight = _weights(logits, sample_weight)
    own = ops.diagonal(logits) if own is None else own
    return ops.mean(
        weight * (margin - own - log_weight + ops.logsumexp(logits + log_weight[None, :], axis=1))
    )


def _lowered(scores, margin, shift):
    """Scores of anchors (rows), those of easy negatives lowered by `shift`."""
    threshold = ops.diagonal(scores)[:, None] - margin
    return ops.where(scores >= threshold, scores, scores - shift)


def _weights(rows, sample_weight):
    """Weights (n,) of the rows, and their logarithms."""
    weight = ops.ones_like(rows[:, 0]) if sample_weight is None else ops.cast(sample_weight, "float32")
    return weight, ops.where(weight > 0, ops.log(ops.maximum(weight, 1e-30)), _EXCLUDED)


def _rows(codes):
    return ops.cast(ops.shape(codes)[0], "float32")
