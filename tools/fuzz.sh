#!/bin/sh
# Runs every fuzz test of the repository, or of the packages named after it, for
# the given time each: fuzz.sh [TIME [DIR...]]
#
# It goes on after one that fails, names those that failed in the end, and fails
# then. Go keeps the input that failed in the package's testdata: with it the
# package's other tests fail too until that is mended.
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

# One line for each: directory, name.
git grep -E '^func Fuzz' -- ${@:-'*_test.go'} |
	sed -nE 's/^(.*)\/[^/]*_test\.go:func (Fuzz[A-Za-z0-9_]*)\(.*/\1 \2/p' | sort >"$work/targets"
total=$(wc -l <"$work/targets")
if [ "$total" -eq 0 ]; then
	echo "fuzz: no fuzz test in ${*:-this repository}" >&2
	exit 1
fi

# fuzz runs one of them, in the directory of the last one compiled or of another.
compiled=
fuzz() {
	if [ "$how" = guided ]; then
		go test "./$dir" -run '^$' -fuzz "^$name\$" -fuzztime "$time"
		return
	fi
	if [ "$compiled" != "$dir" ]; then
		go test -c -o "$work/fuzz.test" "./$dir" || return
		compiled=$dir
	fi
	package=$(go list "./$dir")
	(cd "$dir" && "$work/fuzz.test" -test.run '^$' -test.fuzz "^$name\$" -test.fuzztime "$time" -test.fuzzcachedir "$cache/$package")
}

number=0
while read -r dir name; do
	number=$((number + 1))
	how=guided
	if [ "$(go list -deps -test "./$dir" </dev/null | wc -l)" -gt "$most" ]; then
		how=unguided
	fi
	echo "[$number/$total] $dir $name for $time, $how"
	if ! fuzz </dev/null; then
		echo "$dir $name" >>"$work/failed"
	fi
done <"$work/targets"

if [ -s "$work/failed" ]; then
	echo "fuzz: these failed:" >&2
	cat "$work/failed" >&2
	exit 1
fi
echo "fuzz: all $total passed"
