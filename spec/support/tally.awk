# tally.awk - reads the log of a test: counts its lines of TAP, and keeps what scripts/test reports (spec/support/run names the files).
#
# NAME, STATUS, FILTER, SAMPLED, FOLDER are in the environment. A program that says no TAP is one test. One that ends early, or with a bad status
# though all its tests passed, has failed once more.
BEGIN {
	name = ENVIRON["NAME"]; status = ENVIRON["STATUS"] + 0; filter = ENVIRON["FILTER"]; folder = ENVIRON["FOLDER"]
	may_be_none = filter != "" || ENVIRON["SAMPLED"] != ""
	failures = folder "/failures"
	printf "" >failures
	printf "" >(folder "/passed")
	printf "" >(folder "/skipped")
}
{ said[NR % 40] = substr($0, 1, 400) }
/: runtime error: / { errors = errors "    | " $0 "\n" }
/^1\.\.[0-9]+$/ { plan += substr($0, 4); plans++; next }
/^(not )?ok [0-9]+ / {
	count++
	line = $0
	sub(/^(not )?ok [0-9]+ (- )?/, "", line)
	skip = sub(/^# SKIP */, "", line)
	said_failed += /^not/ && !skip
	bad = 0
	if (filter != "" && !index(line, filter)) next
	if (skip) { skipped++; sub(/^[^ ]+ /, "", name); print name ": " line >(folder "/skipped") }
	else if (/^ok/) { ok++; print line >(folder "/passed") }
	else { bad = 1; failed++; print "    FAILED " line >failures }
	next
}
/^# [^ ]+ @ [0-9]+: / { bad = 0; next } # busted begins a test
/^#/ && bad { print "    " $0 >failures; next }
{ bad = 0 }
END {
	if (!plans && !count && status == 0) { if (filter == "" || index(name, filter)) { ok++; print name >(folder "/passed") } }
	else if (!plans || count < plan || !count && !may_be_none) { failed += plan > count ? plan - count : 1; early = 1 }
	# busted answers 1 when the filter leaves nothing of a file
	else if (status != 0 && !said_failed && !(may_be_none && !count && status == 1)) { failed++; early = 1 }
	if (early) {
		how = status == 137 ? "it did not end within its time, or was killed" : "it ended with status " status " before its time"
		printf "    FAILED %s; the last it said:\n%s", how, errors >failures
		for (i = NR + 1; i <= NR + 40; i++) if ((i % 40) in said) print "    | " said[i % 40] >failures
	}
	print ok + 0, failed + 0, skipped + 0 >(folder "/counts")
}
