# Arguments: a capture, how many events it has, the rows that are expected, and the queries that must give them.
import glob
import sys

import duckdb
import pyarrow.dataset

capture, events, expected, *queries = sys.argv[1:]
failed = False
rows = []
for query in queries:
    print(query.strip())
    try:
        result = duckdb.execute(query)
        found = [[column[0] for column in result.description], *result.fetchall()]
    except duckdb.Error as error:
        print("  DuckDB:", error)
        failed = True
        continue
    found = [" | ".join(map(str, row)) for row in found]
    print("".join(f"  {row}\n" for row in found))
    rows += [*found, ""]
if "\n".join(rows).strip() != expected.strip():
    print("these are not the rows of xtask/src/ci/sql_rows.txt")
    failed = True
segments = sorted(glob.glob(f"{capture}/segment-*.parquet"))
count = pyarrow.dataset.dataset(segments, format="parquet").count_rows()
print(f"pyarrow: {count} rows in {len(segments)} segments; the manifest says {events}")
sys.exit(1 if failed or count != int(events) else 0)
