#!/bin/sh
# Installs what building and testing need and this machine lacks. Where it may
# not install, it prints the one command that would.
set -eu

missing=""
need() { # need COMMAND-OR-FILE PACKAGE
	case "$1" in
	/*) [ -e "$1" ] || missing="$missing $2" ;;
	*) command -v "$1" >/dev/null 2>&1 || missing="$missing $2" ;;
	esac
}

if ! command -v go >/dev/null 2>&1; then
	echo "Go is missing: install Go 1.26 or newer from https://go.dev/dl/ and put it on PATH" >&2
	exit 1
fi

need gcc gcc
need git git
arch_lib="/usr/lib/$(uname -m)-linux-gnu"
need "$arch_lib/libseccomp.a" libseccomp-dev
need /bin/busybox busybox-static

[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "installing$missing"
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of words on purpose
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
	echo "missing packages; install them and run make again:" >&2
	echo "  sudo apt-get install -y$missing" >&2
	exit 1
fi
