"""The network of two hash branches: its building, its codes and its saved form."""

import inspect
import weakref
from collections.abc import Mapping
from typing import Any, NoReturn, Self, TypeAlias, TypedDict

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras import backend
from scbch_keras.arrays import Tensor
from scbch_keras.checks import whole
from scbch_keras.codes import pack_codes
from scbch_keras.data import ROWS_AT_ONCE, FeatureBatches, LoaderPairs, PairDataset
from scbch_keras.features import (
    Features,
    Shape,
    as_features,
    check_inputs,
    check_shape,
    finite_rows,
    first_array,
    shape_of,
    sizes_of,
)
from scbch_keras.layers import HashBranch
from scbch_keras.metrics import cross_modal_map
from scbch_keras.retrieval_sets import MAP_NAMES, check_set
from scbch_keras.shared_codes import SharedCodes, weights_mark

Branch: TypeAlias = keras.Model | HashBranch | None
"""What a branch may be given as; None is the paper's."""


class NetworkArguments(TypedDict, total=False):
    """Arguments of every method beside its own settings; see `CrossModalHashing` and `keras.Model`."""

    image_branch: Branch
    text_branch: Branch
    l2: float
    name: str
    dtype: Any
    trainable: bool


_COMMON = ("self", "bits", "num_classes", *NetworkArguments.__annotations__)


class HashNetwork(keras.Model):
    """Two hash branches: codes of images and texts, and how well they find each other.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        image_branch: see `CrossModalHashing`.
        text_branch: see `CrossModalHashing`.

    Raises:
        ValueError: an argument out of range, a branch whose code length is not `bits`, or branches that share a
            layer.
    """

    SETTINGS: tuple[str, ...] = ()
    """A subclass' own constructor arguments, which are saved."""
    COMPARES_FEATURES = False
    """Whether the objective compares the features of samples themselves, which takes one array a modality."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.SETTINGS = tuple(
            name
            for name, parameter in inspect.signature(cls.__init__).parameters.items()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name not in _COMMON
        )

    def __init__(
        self,
        bits: int,
        num_classes: int,
        image_branch: Branch = None,
        text_branch: Branch = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bits = whole("bits", bits, 1)
        self.num_classes = whole("num_classes", num_classes, 1)
        self.image_branch = self._as_branch("image_branch", image_branch, (8192, 8192))
        self.text_branch = self._as_branch("text_branch", text_branch, (8192,))
        _check_apart(self.image_branch, self.text_branch)
        self._input_shape: dict[str, Shape] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        # JAX' trainer hands it over once a step; Keras would look for variables in each of its arrays.
        if name == "_jax_state":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _as_branch(self, name: str, branch: Any, units: tuple[int, ...]) -> HashBranch:
        if branch is None:
            return HashBranch(self.bits, units, name=name, dtype=self.dtype_policy)
        if isinstance(branch, HashBranch):
            if branch.bits != self.bits:
                raise ValueError(f"{name} makes codes of {branch.bits} bits; the model's are {self.bits}.")
            branch.name = name  # what summary() shows
            return branch
        if isinstance(branch, keras.Model):
            try:
                return HashBranch(self.bits, body=branch, name=name, dtype=self.dtype_policy)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        raise ValueError(f"{name} must be a HashBranch, a keras.Model or None; got {type(branch).__name__}.")

    # The network

    def build(self, input_shape: dict[str, Any]) -> None:
        """Build the branches named in {"image": (None, ...), "text": (None, ...)}, or a dict of such shapes each."""
        for name, branch in self._branches().items():
            if name not in input_shape:
                continue
            shape = _free(input_shape[name])
            branch.check_input_shape(name, shape)
            if name in self._input_shape:
                check_shape(name, shape, self._input_shape[name], sizes=False)
                continue
            self._input_shape[name] = shape
            if not branch.built:
                branch.build(self._input_shape[name])
            self.build_heads(name)

    def build_heads(self, modality: str) -> None:
        """Build what a subclass has beyond the branch of "image" or "text"."""

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> dict[str, Tensor]:
        """Codes of the modalities in `inputs`."""
        inputs = backend.divided(inputs)
        with backend.products():
            return {
                name: branch(inputs[name], training=training)
                for name, branch in self._branches().items()
                if name in inputs
            }

    def moving_statistics(self) -> list[Any]:
        """Variables that a forward pass in training moves: means and variances of normalization, for instance."""
        return [
            variable
            for layer in self._flatten_layers(include_self=False)
            if layer.trainable
            for variable in layer._non_trainable_variables
            if "float" in variable.dtype
        ]

    def _branches(self) -> dict[str, HashBranch]:
        return {"image": self.image_branch, "text": self.text_branch}

    def make_predict_function(self, force: bool = False) -> Any:
        """Keras' own, compiled only where that pays."""
        jit: bool = self.jit_compile  # type: ignore[has-type]
        self.jit_compile = jit and backend.JIT_PREDICT
        try:
            return super().make_predict_function(force)
        finally:
            self.jit_compile = jit

    # Encoding

    def encode_image(
        self, image: Any, packed: bool = True, batch_size: int = 1024, verbose: Any = "auto"
    ) -> NDArray[Any]:
        """Codes of images, which need no texts.

        Args:
            image: (n, ...), features or pictures as in training, finite; a dict of these for a branch with several
                inputs.
            packed: whether codes come packed.
            batch_size: rows at once.
            verbose: Keras' progress bar: "auto", 0, 1 or 2.

        Returns:
            Packed codes (n, ceil(bits / 8)) uint8, bit i being h_i > 0 (`numpy.packbits`' order); or continuous
            codes (n, bits) float32.

        Raises:
            ValueError: the branch is not built, or the features do not fit it.
        """
        return self._encode("image", image, packed, batch_size, verbose)

    def encode_text(
        self, text: Any, packed: bool = True, batch_size: int = 1024, verbose: Any = "auto"
    ) -> NDArray[Any]:
        """Codes of texts, which need no images; see `encode_image`."""
        return self._encode("text", text, packed, batch_size, verbose)

    def _encode(
        self, modality: str, features: Any, packed: bool, batch_size: int, verbose: Any
    ) -> NDArray[Any]:
        batch_size = whole("batch_size", batch_size, 1)
        features = self._checked_features(modality, features)
        codes = self._codes({modality: features}, batch_size, verbose)[modality]
        return pack_codes(codes) if packed else codes

    def check_batch(self, x: Mapping[str, Features], first_row: int = 0) -> None:
        """Raise ValueError for features by modality that the branches do not take."""
        for name, branch in self._branches().items():
            branch.check_input_shape(name, shape_of(x[name]))
            if self.COMPARES_FEATURES and isinstance(x[name], Mapping):
                raise ValueError(
                    f"{name} must be one array (n, ...): {type(self).__name__} compares features of samples, and "
                    f"{', '.join(map(repr, x[name]))} are none. Give features that an encoder made, or use a method "
                    "that reads codes and labels alone, such as SCBCH."
                )
            branch.inputs.check_whole(name, x[name], first_row)

    def check_encodable(self, modality: str, features: Features) -> None:
        """Raise ValueError for features that the branch as it was built does not take."""
        expected = self._input_shape.get(modality)
        if expected is None:
            raise ValueError(f"The {modality} branch has no weights yet: call fit, build, or load a model.")
        check_shape(modality, sizes_of(features), expected)
        self._branches()[modality].inputs.check_whole(modality, features)

    def _checked_features(self, modality: str, features: Any) -> Features:
        features = as_features(modality, features)
        check_inputs(modality, features)
        self.check_encodable(modality, features)
        return features

    def _codes(
        self, x: dict[str, Any], batch_size: int, verbose: Any = 0, chosen: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Continuous codes of all rows or the chosen ones."""
        if not len(first_array(next(iter(x.values()))) if chosen is None else chosen):
            return {name: np.empty((0, self.bits), "float32") for name in x}
        with backend.placed(self):
            outputs = self.predict(FeatureBatches(x, batch_size, chosen), verbose=verbose)
        return {name: outputs[name] for name in x}

    def codes_of_rows(self, x: dict[str, Any], rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Continuous codes by modality of the chosen rows of features that are checked already."""
        return self._codes(x, ROWS_AT_ONCE, chosen=rows)

    def codes_of(
        self, pairs: PairDataset | LoaderPairs, share: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Continuous codes (N, bits) of a training set's images and texts, in the samples' order.

        Features with NaN or inf have codes of NaN: TensorFlow's ReLU makes a 0 of NaN, so that the network's own
        answer would look like a code.

        Args:
            pairs: the training set.
            share: whether the next call has them too, if the weights are still the same.
        """
        shared, pairs.shared = pairs.shared, None
        weights = weights_mark(self) if share or shared is not None else ()
        if shared is not None and shared.model() is self and shared.weights == weights:
            codes = shared.codes
        else:
            codes = self._training_codes(pairs)
        if share:
            pairs.shared = SharedCodes(weakref.ref(self), weights, codes)
        return codes

    def _training_codes(
        self, pairs: PairDataset | LoaderPairs
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        codes = {name: np.zeros((pairs.num_samples, self.bits), "float32") for name in self._branches()}
        together = backend.several_processes()
        with backend.placed(self):
            for block, (rows, image, text) in enumerate(pairs.in_order()):
                if together and block % backend.processes.count() != backend.processes.rank():
                    continue
                outputs = self.predict_on_batch({"image": image, "text": text})
                for name, batches in codes.items():
                    batches[rows] = ops.convert_to_numpy(outputs[name])
                for name, features in (("image", image), ("text", text)):
                    codes[name][rows[~finite_rows(features)]] = np.nan
        if together:
            codes = {name: backend.processes.total(values) for name, values in codes.items()}
        return codes["image"], codes["text"]

    def evaluate_retrieval(
        self, query: Any, database: Any, k: int | None = None, batch_size: int = 1024, verbose: Any = 0
    ) -> dict[str, float]:
        """How well images and texts find each other by their binary codes, in both directions.

        Relevant is what shares a label; equal distances count with their expected value over random orders.

        Args:
            query: ({"image": (q, ...), "text": (q, ...)}, labels (q, C)), with clean labels where there are any.
            database: the same for the database.
            k: int, mAP@k, or None for the whole ranking.
            batch_size: rows encoded at once.
            verbose: Keras' progress bar: "auto", 0, 1 or 2.

        Returns:
            Mean average precision in [0, 1] by the names `RetrievalMetrics` logs: `i2t_map` (image queries against
            the text codes of the database) and `t2i_map` (the other way).

        Raises:
            ValueError: a set that is not ({"image", "text"}, labels), arrays that do not fit each other or the
                branches, or nothing relevant to any query.
        """
        sets = [check_set("query", query), check_set("database", database)]
        for name, (x, _) in zip(("query", "database"), sets, strict=True):
            for modality, features in x.items():
                try:
                    self._checked_features(modality, features)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
        return self.retrieval_maps(sets[0], sets[1], k, batch_size, verbose)

    def retrieval_maps(
        self, query: Any, database: Any, k: int | None = None, batch_size: int = 1024, verbose: Any = 0
    ) -> dict[str, float]:
        """`evaluate_retrieval` of sets that are checked already."""
        of_query, of_database = (self.packed_codes(x, batch_size, verbose) for x, _ in (query, database))
        return self.maps_of(of_query, of_database, query[1], database[1], k)

    def maps_of(
        self, query: Any, database: Any, query_labels: Any, database_labels: Any, k: int | None
    ) -> Any:
        """`evaluate_retrieval` of packed codes by modality."""
        result = cross_modal_map(query, database, query_labels, database_labels, bits=self.bits, k=k)
        return dict(zip(MAP_NAMES, (result.i2t, result.t2i), strict=True))

    def packed_codes(
        self, x: dict[str, Any], batch_size: int = 1024, verbose: Any = 0
    ) -> dict[str, NDArray[np.uint8]]:
        """Packed codes by modality of features that are checked already."""
        return {name: pack_codes(codes) for name, codes in self._codes(x, batch_size, verbose).items()}

    # Saving

    def export(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not offered: `scbch_keras.export.release` makes the encoders' SavedModel and ONNX files, verified."""
        raise NotImplementedError(
            "Keras' export would write one graph of both branches. Use scbch_keras.export.release(model, folder): it "
            "writes an encoder for images and one for texts, as SavedModel and ONNX, and verifies them; or save the "
            'model with model.save("model.keras").'
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        branches = {
            f"{name}_branch": keras.saving.serialize_keras_object(branch)
            for name, branch in self._branches().items()
        }
        settings = {name: getattr(self, name) for name in ("bits", "num_classes", "l2", *self.SETTINGS)}
        return {**super().get_config(), **settings, **branches}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The model of a config."""
        branches = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("image_branch", "text_branch")
        }
        return cls(**{**config, **branches})

    def get_build_config(self) -> dict[str, Any]:
        """The shapes the branches are built with."""
        return {"input_shape": dict(self._input_shape)}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build the branches with the shapes of `get_build_config`."""
        self.build(config["input_shape"])

    def save_own_variables(self, store: Any) -> None:
        """Nothing: the only variable outside of the layers is the confidence, which belongs to the data."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing; see `save_own_variables`."""


def _free(shape: Any) -> Shape:
    """The shape or shapes with the batch free, as tuples: a stored config has lists."""
    if isinstance(shape, Mapping):
        return {name: (None, *sizes[1:]) for name, sizes in shape.items()}
    return (None, *shape[1:])


def _check_apart(image_branch: HashBranch, text_branch: HashBranch) -> None:
    """Refuse branches with a layer in common, at whatever depth: a saved file could not be loaded.

    An input, or a layer known to have neither weights nor layers, makes no difference.
    """
    of_image = {id(layer) for layer in image_branch._flatten_layers()}
    shared = [
        layer.name
        for layer in text_branch._flatten_layers()
        if id(layer) in of_image
        and not (layer.built and not layer.variables and len(layer._flatten_layers()) == 1)
    ]
    if shared:
        raise ValueError(
            f"image_branch and text_branch share {', '.join(map(repr, shared[:3]))}"
            f"{', ...' if len(shared) > 3 else ''}: a model with a layer in both branches could be saved and not "
            "loaded. Make the layers anew for each branch, or copy a body with keras.models.clone_model."
        )
