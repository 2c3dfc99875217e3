#!/bin/bash
# Makes a fresh Debian or Ubuntu machine ready for `make`: says what is missing and installs it. Run again,
# it does nothing.
#
#   hack/bootstrap.sh node      Node 24 and the npm packages: enough for the quick tests
#   hack/bootstrap.sh cluster   also Docker, debootstrap, Go and a C compiler: the real cluster
#
# It uses apt, npm and the Go module proxy, each by its own client, and changes nothing outside them but
# node_modules/ and the cache directory (KATA_OPERATOR_CACHE, by default .cache/).
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=${1:-cluster}
cache=${KATA_OPERATOR_CACHE:-$PWD/.cache}
go_minimum=1.26
go_toolchain=go1.26.8
free_gib_minimum=15
waited=0

say() { printf '[%5d s] bootstrap: %s\n' "$SECONDS" "$*" >&2; }
die() {
	say "$*"
	exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# Every package is asked for by something it provides, so that another origin of it (Docker's own
# packages, a Go in /usr/local) counts as well.
missing_packages() {
	has npm || echo nodejs npm
	[ "$wanted" = cluster ] || return 0
	has dockerd || echo docker.io
	has docker || docker_cli
	has debootstrap || echo debootstrap
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
	[ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
	has zstd || echo zstd
	has xz || echo xz-utils
	has openssl || echo openssl
	has iptables || echo iptables
	has ip || echo iproute2
	has git || echo git
	{ has musl-gcc && has gcc; } || echo musl-tools gcc libc6-dev
	[ -n "$(usable_go)" ] || has go || echo golang-go
}

# From Debian 13 on the client is a package of its own.
docker_cli() {
	if apt-cache show docker-cli >/dev/null 2>&1; then echo docker-cli; fi
}

install_packages() {
	local packages
	packages=$(missing_packages | xargs)
	[ -n "$packages" ] || return 0
	has apt-get || die "missing: $packages; this is neither Debian nor Ubuntu, so install them yourself"
	[ "$(id -u)" = 0 ] || die "missing: $packages; run this as root, or install them yourself"
	say "installing $packages"
	apt_get update
	packages=$(missing_packages | xargs) # the lists may know more names now
	apt_get install --no-install-recommends $packages
}

apt_get() {
	long_run "apt-get $1" env DEBIAN_FRONTEND=noninteractive timeout 1800 \
		apt-get -qq -y -o DPkg::Lock::Timeout=300 "$@"
}

# Runs a command quietly, says every quarter of a minute that it still runs, and shows its last lines when
# it fails.
long_run() {
	local title=$1 log pid
	shift
	log=$(mktemp)
	"$@" >"$log" 2>&1 &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 1
		[ $((++waited % 15)) != 0 ] || say "$title: still running"
	done
	wait "$pid" || {
		tail -n 30 "$log" >&2
		rm -f "$log"
		die "$title failed; its last lines are above"
	}
	rm -f "$log"
}

# Dependencies follow package-lock.json; node_modules remembers which one it was made from.
install_node_modules() {
	local lock stamp=node_modules/.kata-operator-lock
	lock=$(sha256sum <package-lock.json)
	if [ "$(cat $stamp 2>/dev/null || true)" != "$lock" ]; then
		# Where node_modules exists, others may be using it: add to it instead of making it anew.
		local command=ci
		[ ! -d node_modules ] || command='install --no-save'
		say "npm $command"
		long_run "npm $command" timeout 1200 npm $command --no-audit --no-fund --loglevel=error
		printf '%s' "$lock" >$stamp
	fi
	link_node
}

# The npm registry carries Node itself, so that every machine runs the same one.
link_node() {
	local architecture binary
	case $(uname -m) in
		x86_64) architecture=x64 ;;
		aarch64) architecture=arm64 ;;
		*) die "there is no Node for $(uname -m) here" ;;
	esac
	binary=$PWD/node_modules/node-linux-$architecture/bin/node
	[ -x "$binary" ] || die "$binary is missing: remove node_modules and run this again"
	# npm puts this directory first in the PATH of scripts, and so does the Makefile.
	ln -sfn "$binary" node_modules/.bin/node
}

# Prints the path of a Go that is new enough, or that can fetch a newer one by itself (1.21 and later).
usable_go() {
	local go version
	for go in "$(command -v go || true)" /usr/local/go/bin/go "$cache/go/bin/go"; do
		[ -x "$go" ] || continue
		version=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || continue
		if [ "$(printf '1.21\n%s\n' "${version#go}" | sort -V | head -n 1)" = 1.21 ]; then
			echo "$go"
			return
		fi
	done
}

# Go publishes its toolchains as a module. An older Go can download it, checksum database included, but
# not use it by itself: module files are not executable.
install_go() {
	[ -z "$(usable_go)" ] || return 0
	local machine module directory
	machine=$(go env GOOS)-$(go env GOARCH)
	module=golang.org/toolchain@v0.0.1-$go_toolchain.$machine
	say "fetching $go_toolchain (this machine has $(go env GOVERSION), $go_minimum is needed)"
	# Outside any module; an older Go cannot read the go.mod files here.
	long_run "go mod download" env --chdir=/ GO111MODULE=on GOFLAGS=-mod=mod timeout 1200 \
		go mod download "$module"
	directory=$(go env GOMODCACHE)/$module
	rm -rf "$cache/go.partial"
	mkdir -p "$cache"
	cp -r "$directory" "$cache/go.partial"
	chmod -R u+w "$cache/go.partial"
	chmod -R a+x "$cache/go.partial/bin" "$cache/go.partial/pkg/tool"
	rm -rf "$cache/go"
	mv "$cache/go.partial" "$cache/go"
}

warn_about_space() {
	local free
	mkdir -p "$cache"
	free=$(df --output=avail -BG "$cache" | tail -n 1 | tr -dc 0-9)
	[ "$free" -ge $free_gib_minimum ] || [ -e "$cache/bin/kube-apiserver" ] ||
		say "only $free GiB are free below $cache: a first build takes about $free_gib_minimum GiB"
}

case $wanted in
	node | cluster) ;;
	*) die "usage: hack/bootstrap.sh node|cluster" ;;
esac
install_packages
install_node_modules
if [ "$wanted" = cluster ]; then
	install_go
	warn_about_space
fi
