#!/bin/sh
# Runs every fuzz test of the repository for the given time each.
set -eu
time=${1:-60s}
git grep -lE '^func Fuzz' -- '*_test.go' | while read -r file; do
	dir=$(dirname "$file")
	sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$file" | while read -r name; do
		echo "fuzz $dir $name for $time"
		go test "./$dir" -run '^$' -fuzz "^$name\$" -fuzztime "$time" </dev/null
	done
done
