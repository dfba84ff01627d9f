"""Archives: millions of recordings on any storage -> Parquet, by any number of machines.

In: URLs that fsspec reads. Out: one Parquet part for every shard of the frozen manifest. A part's
name is a hash of its inputs, the model and the options, so doing a shard again replaces the same
part by the same rows: nothing coordinates the workers, and nothing is lost or doubled by any death.

`manifest` freezes what there is to do, `shard` does one shard and knows no engine, `engines` hold a
page for each engine, `job` joins them.
"""
