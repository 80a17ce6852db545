#!/bin/sh
# Runs every fuzz test of the repository, or of the packages named after it, for
# the given time each: fuzz.sh [TIME [DIR...]]
#
# `go test -fuzz` compiles all that a test depends on anew, with counters in it.
# For a package that is built on a few hundred others that takes minutes, many
# times what the fuzzing takes, so such a package is fuzzed as it is compiled
# for its other tests, without guidance by coverage. FUZZDEPS moves the line.
set -eu
time=${1:-60s}
[ $# -eq 0 ] || shift
most=${FUZZDEPS:-320}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz
git grep -lE '^func Fuzz' -- ${@:-'*_test.go'} | grep '_test\.go$' | xargs -n 1 dirname | sort -u >"$work/dirs"
while read -r dir; do
	how=guided
	if [ "$(go list -deps -test "./$dir" | wc -l)" -gt "$most" ]; then
		how=unguided
		go test -c -o "$work/fuzz.test" "./$dir" </dev/null
	fi
	cat "$dir"/*_test.go | sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' >"$work/names"
	while read -r name; do
		echo "fuzz $dir $name for $time, $how"
		if [ "$how" = guided ]; then
			go test "./$dir" -run '^$' -fuzz "^$name\$" -fuzztime "$time" </dev/null
		else
			package=$(go list "./$dir")
			(cd "$dir" && "$work/fuzz.test" -test.run '^$' -test.fuzz "^$name\$" -test.fuzztime "$time" -test.fuzzcachedir "$cache/$package" </dev/null)
		fi
	done <"$work/names"
done <"$work/dirs"
