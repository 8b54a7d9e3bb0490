# Arguments: a capture, how many events it has, and queries that must each give rows.
import glob
import sys

import duckdb
import pyarrow.dataset

capture, events, *queries = sys.argv[1:]
failed = False
for query in queries:
    print(query.strip())
    try:
        result = duckdb.execute(query)
        names = [column[0] for column in result.description]
        rows = result.fetchall()
    except duckdb.Error as error:
        print("  DuckDB:", error)
        failed = True
        continue
    print("  " + " | ".join(names))
    for row in rows[:10]:
        print("  " + " | ".join(map(str, row)))
    print(f"  {len(rows)} rows")
    if not rows:
        print("  a query without rows shows nothing: the columns or values that it names may have changed")
        failed = True
segments = sorted(glob.glob(f"{capture}/segment-*.parquet"))
count = pyarrow.dataset.dataset(segments, format="parquet").count_rows()
print(f"pyarrow: {count} rows in {len(segments)} segments; the manifest says {events}")
sys.exit(1 if failed or count != int(events) else 0)
