-- survivors.lua - bugs by rule that no test finds, by their id, and why that is right.

return {
	["runtime/core/error.c:bound:2e251d70"] = "the same: it is asked for valid UTF-8 only, whose last byte is no 0xc2",
	["runtime/core/msgpack.c:swap:5ec2e8bf"] = "the same: neither of the two reads what the other one writes",
	["runtime/drive/driver.c:drop:b71bc36a"] = "the jitter's numbers come from a poorer generator; all that is promised is that they differ",
	["runtime/drive/task.c:swap:36a9ac71"] = "the same: whoever the bell wakes runs on this thread, after both",
	["runtime/store/collect.c:bound:9c4fcb07"] = "in a log that is empty the collector is called once too early, and removes nothing",
	["runtime/store/fd.c:swap:85934d79"] = "the same, unless another thread forks between the two in the first open of the process",
	["runtime/store/lmdb_checkpoints.c:drop:78da9349"] = "the same: its only caller says false before the call, too",
	["runtime/store/lmdb_env.c:swap:838cc082"] = "the same: neither of the two reads what the other one writes",
	["runtime/store/lmdb_env.c:bound:eb777108"] = "the same: what VIGIA_FD returns is above the standard descriptors",
}
