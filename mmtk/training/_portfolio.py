"""Kinds of estimators with the settings to try first, and the distributions that further settings are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmtk.training._features import COMPONENTS

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of estimator.

    Attributes
    ----------
    name : str
    make : callable
        Takes a seed and returns an estimator.
    first : tuple of settings
        Parameters of the estimator to try first, the best guess in front.
    draws : mapping
        Distributions or lists of further settings, as `sklearn.model_selection.ParameterSampler` takes them.
    pixels : bool
        Whether its features are pixels; otherwise principal components.
    labels : bool
        Whether it supports multi-label tasks directly.
    growth : float
        The time of a fit grows at most with this power of the number of images.
    """

    name: str
    make: Callable[[int], Any]
    first: tuple[Settings, ...]
    draws: Mapping[str, Any]
    pixels: bool = False
    labels: bool = False
    growth: float = 1.2


@dataclass(frozen=True)
class Candidate:
    """A kind with settings; the setting ``components`` is the number of principal components it uses."""

    kind: Kind
    settings: Settings

    @property
    def components(self) -> int | None:
        """Principal components, None for pixels."""
        return None if self.kind.pixels else int(self.settings.get("components", COMPONENTS))

    def estimator(self, seed: int, multilabel: bool) -> Any:
        """Make a new estimator; for multi-label tasks one per label if necessary."""
        from sklearn.multiclass import OneVsRestClassifier

        made = self.kind.make(seed).set_params(**{
            name: value for name, value in self.settings.items() if name != "components"
        })
        return OneVsRestClassifier(made) if multilabel and not self.kind.labels else made

    def __str__(self) -> str:
        named = ((name.rpartition("__")[2], value) for name, value in self.settings.items())
        texts = (f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in named)
        return " ".join([self.kind.name, *texts])


def portfolio(kinds: tuple[Kind, ...]) -> Iterator[Candidate]:
    """Yield the candidates to try first: the best guess of each kind, then the second best of each, and so on."""
    for number in range(max(len(kind.first) for kind in kinds)):
        yield from (Candidate(kind, kind.first[number]) for kind in kinds if number < len(kind.first))


def draw_candidate(kind: Kind, number: int) -> Candidate:
    """Return a candidate with randomly drawn settings, which depend only on its number."""
    from sklearn.model_selection import ParameterSampler

    (settings,) = ParameterSampler(dict(kind.draws), 1, random_state=number)
    return Candidate(kind, {name: value.item() if hasattr(value, "item") else value
                            for name, value in settings.items()})


def estimator_kinds(multilabel: bool) -> tuple[Kind, ...]:
    """Return all kinds, those with the best return for their time first."""
    from scipy.stats import loguniform, uniform

    least = 5 if multilabel else 1  # a leaf stores two numbers per label: larger leaves save memory
    leaves = {"min_samples_leaf": [least, 2 * least, 5 * least, 10 * least],
              "max_features": ["sqrt", 0.02, 0.1], "criterion": ["gini", "entropy"]}
    leaf = ({"min_samples_leaf": least}, {"min_samples_leaf": 10 * least},
            {"min_samples_leaf": least, "max_features": 0.1, "criterion": "entropy"})
    some, mlp = {"components": [16, 32, COMPONENTS]}, "mlpclassifier"
    forest: dict[str, Any] = {"pixels": True, "labels": True, "draws": leaves}
    return (
        Kind("logistic", _logistic, ({"C": 0.1}, {"C": 0.01}, {"C": 1.0}), {"C": loguniform(1e-3, 10), **some}),
        Kind("extra_trees", _extra_trees, leaf, **forest),
        Kind("svc", _svc, (
            {"estimator__C": 10.0}, {"estimator__C": 1.0, "estimator__gamma": 4 / COMPONENTS}, {"estimator__C": 1.0},
            {"estimator__C": 10.0, "estimator__gamma": 2 / COMPONENTS, "components": 16},
        ), {
            "estimator__C": loguniform(0.1, 100), "estimator__gamma": loguniform(0.1 / COMPONENTS, 10 / COMPONENTS),
            **some,
        }, growth=2.2),
        Kind("boosting", _boosting, (
            {"learning_rate": 0.05}, {"learning_rate": 0.2},
            {"learning_rate": 0.1, "max_leaf_nodes": 8, "max_features": 0.5},
        ), {
            "learning_rate": loguniform(0.02, 0.3), "max_leaf_nodes": [4, 8, 16, 31], "max_features": [0.2, 0.5, 1.0],
            "l2_regularization": loguniform(1e-3, 10), **some,
        }),
        Kind("lda", _lda, ({"shrinkage": "auto"}, {"shrinkage": 0.5}), {"shrinkage": uniform(0, 1), **some}),
        Kind("mlp", _mlp, (
            {f"{mlp}__alpha": 1.0}, {f"{mlp}__alpha": 0.1, f"{mlp}__hidden_layer_sizes": 128},
            {f"{mlp}__alpha": 0.1, "components": 32},
        ), {
            f"{mlp}__alpha": loguniform(0.01, 10), f"{mlp}__hidden_layer_sizes": [32, 64, 128],
            f"{mlp}__max_iter": [20, 50, 100], f"{mlp}__learning_rate_init": loguniform(5e-4, 5e-3), **some,
        }, labels=True),
        Kind("random_forest", _random_forest, leaf, **forest),
        Kind("neighbours", _neighbours, (
            {"n_neighbors": 25}, {"n_neighbors": 5}, {"n_neighbors": 10, "components": 32},
        ), {
            "n_neighbors": [3, 7, 15, 35, 50, 75], "weights": ["uniform", "distance"], "p": [1, 2], **some,
        }, labels=True),
    )


def _logistic(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500, random_state=seed)


def _extra_trees(seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(100, n_jobs=-1, random_state=seed)


def _random_forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, n_jobs=-1, random_state=seed)


def _svc(seed: int) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    return CalibratedClassifierCV(SVC(cache_size=500, random_state=seed), cv=3, ensemble=False)


def _boosting(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed)


def _lda(seed: int) -> Any:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="lsqr")


def _mlp(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), MLPClassifier(64, max_iter=50, random_state=seed))


def _neighbours(seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(weights="distance")
