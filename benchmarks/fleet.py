import cProfile
import logging
import pstats
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
import argparse

from benchmarks.simulated.week import *

p = argparse.ArgumentParser()
p.add_argument("--accounts", type=int, default=2000)
p.add_argument("--per-hour", type=int, default=200)
p.add_argument("--days", type=int, default=7)
p.add_argument("--old", type=int, default=400)
p.add_argument("--profile", action="store_true")
p.add_argument("--calm", action="store_true")
p.add_argument("--per-second", type=int, default=5)
a = p.parse_args()
logging.getLogger("releve").setLevel(logging.ERROR)
o = Options(a.accounts, a.days, a.per_hour, a.per_second, old_windows=a.old, troubles=not a.calm)
with tempfile.TemporaryDirectory(prefix="releve-fleet-", ignore_cleanup_errors=True) as f, open_house(Path(f), o) as rt:
    w = make_week(rt, o)
    print(w.plan.policy, w.plan.fits, w.plan.calls_a_night, w.plan.quota.a_night, w.seconds)
    pr = cProfile.Profile()
    if a.profile:
        pr.enable()
    w.run()
    pr.disable()
    print(
        w.seconds,
        w.workers.tally,
        w.supplier.statuses,
        w.supplier.over_the_limit,
        w.supplier.peaks.max_in_any_second,
        w.supplier.peaks.max_in_any_hour,
    )
    for s in Series:
        print(s, w.freshness[s][23::24], w.ages[s].asked, w.ages[s].doubled, w.ages[s].days_lost)
    print("missed", w.nights.missed(FIRST_DAY + timedelta(days=a.days - 1)), "spent", w.spent_tries(), vars(w.nobody))
    print([sum(h.values()) for h in w.supplier.by_hour])
    print(sorted(w.troubled))
    print({h: round(u / 36e8, 2) for h, u in w.workers.waiting.nothing_us.items()})
    print([round((h.ready_us - h.arrived_us) / 1e6, 1) for h in w.homes.arrived][:20], len(w.homes.arrived))
    print(w.incidents.past())
    if a.profile:
        pstats.Stats(pr).sort_stats("cumtime").print_stats(45)
