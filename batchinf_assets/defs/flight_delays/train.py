"""How a flight_delays model is made: `batchinf model register flight_delays` calls `train`."""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["carrier_code", "origin_airport", "destination_airport"]


def train(features: pd.DataFrame, labels: "pd.Series[bool]") -> Pipeline:
    """Fit boosted trees on the declared features; unseen carriers and airports count as missing."""
    encode = ColumnTransformer(
        [
            (
                "categories",
                OrdinalEncoder(
                    handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float64
                ),
                CATEGORIES,
            )
        ],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    boost = HistGradientBoostingClassifier(
        max_iter=150,
        learning_rate=0.06,
        min_samples_leaf=60,
        l2_regularization=1.0,
        categorical_features=[0, 1, 2],
        early_stopping=False,
        random_state=20130331,
    )
    return Pipeline([("encode", encode), ("boost", boost)]).fit(features, labels)
