#!/usr/bin/env bash
# Three regions on this machine: ap, eu with two nodes, and us. Ctrl-C ends them.
#
#   docs/three-regions.sh [DIRECTORY]     keys, logs and data go there; three-regions
#
#   CHAPPE   the binary, if it is not on the PATH
#   PORTS    clients come to the four ports after it (8400), operators to those
#            after PORTS + 100
#   LINKS    nodes come to the ports after it (7400)
set -euo pipefail

chappe=${CHAPPE:-chappe} ports=${PORTS:-8400} links=${LINKS:-7400}
dir=${1:-three-regions}
host=127.0.0.1

"$chappe" regions init -dir "$dir" "ap=$host:$((links + 1))" "eu=$host:$((links + 2)),$host:$((links + 3))" "us=$host:$((links + 4))" >/dev/null

pids=()
finish() {
	trap - EXIT INT TERM
	((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
	wait
}
trap finish EXIT INT TERM

# node REGION NAME NUMBER [ROUTE OTHERS]: other nodes of the region come to ROUTE.
node() {
	local client=$host:$((ports + $3)) admin=$host:$((ports + 100 + $3))
	env CHAPPE_MESH_NODE="$2" CHAPPE_CLIENT_LISTEN="$client" CHAPPE_ADMIN_LISTEN="$admin" \
		CHAPPE_ADMIN_TOKEN=three-regions-on-one-laptop CHAPPE_CLIENT_PUBLIC_URL="http://$client" \
		CHAPPE_MESH_LISTEN="$host:$((links + $3))" CHAPPE_MESH_ROUTE="${4:-}" CHAPPE_MESH_ROUTES="${5:-}" \
		CHAPPE_DATA="$dir/$1-$2" CHAPPE_NAMESPACES_RIDES_ANONYMOUS=all \
		"$chappe" serve -config "$dir/$1/chappe.yaml,$dir/$1/mesh.yaml" 2>>"$dir/$1-$2.log" &
	pids+=($!)
	echo "$1 $2: clients http://$client, operators http://$admin, pid $!, log $dir/$1-$2.log"
}

node ap n1 1
node eu n1 2 "$host:$((links + 12))"
node eu n2 3 "$host:$((links + 13))" "$host:$((links + 12))"
node us n1 4
wait
