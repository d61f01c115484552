// Package faults breaks three regions in every way that the issue of a mesh has,
// under clients, and judges what the clients saw (package check).
//
// Four nodes (regions a, b with two nodes, and c) run as processes, each in a
// network namespace of its own. Clients are in the namespace of the caller, on a
// bridge that reaches all nodes; every two nodes have a link of their own, which
// can be taken down, one way or both, without touching their clients.
//
// It wants Linux, root, and the ip command; what else a case wants (nft) it says.
package faults
