"""What people use today, as programs of the replay contract: each judges whole Gpus by wall-clock time.

python -m benchmarks.detection.baselines NAME FILE…
"""

from collections.abc import Callable

from benchmarks.detection.baselines.jump import Jump
from benchmarks.detection.baselines.lasting import Lasting, Rule
from benchmarks.detection.baselines.mann_kendall import MannKendall
from benchmarks.detection.baselines.predict_linear import PredictLinear
from benchmarks.detection.baselines.threshold import Threshold
from benchmarks.detection.cases import HOUR

LASTS = 15 * 60.0  # seconds: the ``for: 15m`` that published alert rules for GPU memory carry

RULES: dict[str, Callable[[], Rule]] = {
    "predict-linear-1h": lambda: Lasting(PredictLinear(window=1 * HOUR, ahead=4 * HOUR), LASTS),
    "predict-linear-6h": lambda: Lasting(PredictLinear(window=6 * HOUR, ahead=24 * HOUR), LASTS),
    "mann-kendall-12h-z4": lambda: Lasting(MannKendall(window=12 * HOUR, z=4.0, slope=1500.0), LASTS),
    "mann-kendall-6h-z4": lambda: Lasting(MannKendall(window=6 * HOUR, z=4.0, slope=1500.0), LASTS),
    "mann-kendall-12h-z6": lambda: Lasting(MannKendall(window=12 * HOUR, z=6.0, slope=800.0), LASTS),
    "threshold-90": lambda: Lasting(Threshold(share=0.9), LASTS),
    "jump-256": lambda: Jump(mebibytes=256),
}
