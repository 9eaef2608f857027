"""How a departure_delays model is made; `model register departure_delays` calls `train`."""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["carrier_code", "origin_airport", "destination_airport"]


def train(features: pd.DataFrame, labels: "pd.Series[bool]") -> Pipeline:
    """Fit boosted trees; the last three hours at the airport tell more than anything else."""
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float64
    )
    encode = ColumnTransformer(
        [("categories", codes, CATEGORIES)],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    boost = HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.06,
        min_samples_leaf=80,
        l2_regularization=1.0,
        categorical_features=[0, 1, 2],
        early_stopping=False,
        random_state=20130430,
    )
    return Pipeline([("encode", encode), ("boost", boost)]).fit(features, labels)
