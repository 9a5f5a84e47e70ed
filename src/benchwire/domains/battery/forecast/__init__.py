"""Forecasts of single signals: seasonal naive, Holt-Winters or boosted trees, each with a band."""

from benchwire.domains.battery.forecast.forecasting import (
    METHODS,
    Forecast,
    Point,
    TrainedOn,
    forecast,
)
from benchwire.domains.battery.forecast.scoring import Backtest

__all__ = ["METHODS", "Backtest", "Forecast", "Point", "TrainedOn", "forecast"]
