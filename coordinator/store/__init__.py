"""The coordinator's durable state in SQL: one writer, many readers, a schema that refuses nonsense.

`sql.SqlStore` is the way in. Nothing here knows MQTT, HTTP or why a row changed; the rows are the
types of coordinator/core.
"""
