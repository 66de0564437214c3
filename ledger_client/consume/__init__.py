"""For analytics: the outcomes, once each, proved complete, in a table or in Parquet files.

    python -m ledger_client.consume --to postgres --table ledger_outcomes
    python -m ledger_client.consume --to parquet --folder ./outcomes

For a sink of your own: `open_reading` reads from where you stored that you are, `Completeness` drops repeats and says
what is missing.

- reading       the outcomes topic from given offsets, without a consumer group
- rows          an outcome as one flat row
- completeness  first sights, repeats, and gaps, in memory
- sinks         what a sink must do; postgres, parquet are the two that are ready
- run           from the topic into a sink, until told to stop or the end is reached
"""

from ledger_client.consume.completeness import Completeness, Gap
from ledger_client.consume.reading import Reading, open_reading
from ledger_client.consume.rows import COLUMNS, row_of

__all__ = ["COLUMNS", "Completeness", "Gap", "Reading", "open_reading", "row_of"]
