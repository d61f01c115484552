// Package wasm holds the sources of the guest kits, so that the program can lay
// them into a new project: a plugin is begun without a network.
package wasm

import "embed"

// Kits are the folders of the kits. Tests among them are for this repository.
//
//go:embed abi/*.go go/*.go go/batch go/connect go/deliver go/disconnect go/history go/presence go/publish go/subscribe go/timer
//go:embed rust/Cargo.toml rust/src assemblyscript/assembly
var Kits embed.FS
