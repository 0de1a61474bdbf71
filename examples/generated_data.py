"""Train on generated pairs with a third of the labels wrong, search them, and find the wrong labels."""

import numpy as np

import scbch_keras as sk

rng = np.random.default_rng(0)
clean = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, 600)]  # the true labels, (600, 3)
image = (clean @ rng.standard_normal((3, 32)) + rng.standard_normal((600, 32))).astype(np.float32)
text = (clean @ rng.random((3, 20)) > rng.random((600, 20))).astype(np.float32)  # bags of words
noisy = sk.noise.mixed_symmetric(clean[:500], rate=0.3, seed=0).labels

model = sk.SCBCH(32, 3, image_branch=sk.HashBranch(32, (64,)), text_branch=sk.HashBranch(32, (64,)))
model.compile("adam")
model.fit({"image": image[:500], "text": text[:500]}, noisy, epochs=20, verbose=0)
query = {"image": image[500:], "text": text[500:]}, clean[500:]
database = {"image": image[:500], "text": text[:500]}, clean[:500]
print(model.evaluate_retrieval(query, database, verbose=0))  # mean average precision, image to text and back
wrong, weight = (noisy != clean[:500]).any(axis=1), np.asarray(model.confidence)
print(f"mean weight of right labels {weight[~wrong].mean():.2f}, of wrong ones {weight[wrong].mean():.2f}")
