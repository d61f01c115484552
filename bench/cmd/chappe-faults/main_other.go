//go:build !linux

// Command chappe-faults breaks three regions under load. It wants Linux.
package main

import "fmt"

func main() { fmt.Println("not run: network namespaces need Linux") }
