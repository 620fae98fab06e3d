"""Sort the runs by temperature and fit the barrier: analyse.py MEANS.h5 CURVE.h5 REPORT.md"""

import sys

import h5py
import numpy as np

means, curve, report = sys.argv[1:]
with h5py.File(means) as opened:
    rows = opened["means"][()]
rows = rows[np.argsort(rows[:, 0])]
temperature, energy, rate = rows.T
crossed = rate > 0
slope = np.polyfit(1 / temperature[crossed], np.log(rate[crossed]), 1)[0] if crossed.sum() > 1 else np.nan
with h5py.File(curve, "w") as opened:
    opened["curve"] = rows
with open(report, "w") as out:
    out.write(f"{len(rows)} temperatures; barrier {-slope:.2f} (the well's is 1)\n\n| T | energy | rate |\n|---|---|---|\n")
    out.writelines(f"| {t:g} | {e:.4f} | {r:.5f} |\n" for t, e, r in rows)
