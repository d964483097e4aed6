# shellcheck shell=bash
# workplace.sh - sourced by scripts/test and spec/support/run, in the root folder.

# workplace: makes a folder for the files of a run, where programs can be executed and stores opened (on no network file system), under
# a name that the options of a sanitizer can hold; prints its path.
workplace() {
	local parent folder
	for parent in "${TMPDIR:-/tmp}" /tmp /var/tmp /dev/shm "$PWD/build"; do
		[ "$parent" != "$PWD/build" ] || mkdir -p "$parent"
		folder=$(mktemp -d "$parent/vigia-test.XXXXXX" 2>/dev/null) || continue
		folder=$(cd -- "$folder" && pwd -P)
		printf '#!/bin/sh\n' >"$folder/try" && chmod 755 "$folder/try" && chmod 711 "$folder"
		if [[ $folder != *[!A-Za-z0-9._/+-]* ]] && "$folder/try" 2>/dev/null && ! stat -f -c %T "$folder" |
			grep -qE 'nfs|smb|cifs|coda|afs|ceph|v9fs|lustre|gpfs|novell|beegfs|gfs|ocfs2|panfs|acfs|vboxsf|vmhgfs|prl_fs'; then
			rm -- "$folder/try"
			echo "$folder"
			return
		fi
		rm -rf -- "$folder"
	done
	return 1
}
