// Command middlebox stands between a client and a relay that speaks TLS, and
// blocks what its input says: lines such as "block udp" and "pass upgrades". Each
// is answered by a line when it is in force. It ends with its input.
//
//	go run ./sdk/conformance/cmd/middlebox 127.0.0.1:8443 127.0.0.1:8080
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/chappe-relay/chappe/sdk/conformance/middlebox"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, in io.Reader, out, stderr io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(stderr, "usage: middlebox LISTEN-ADDRESS RELAY-ADDRESS")
		return 2
	}
	b, err := middlebox.Listen(args[0], args[1])
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	defer b.Close()
	fmt.Fprintln(out, "ready", b.Addr())
	for lines := bufio.NewScanner(in); lines.Scan(); {
		verb, what, _ := strings.Cut(lines.Text(), " ")
		if verb != "block" && verb != "pass" {
			fmt.Fprintf(stderr, "%q is neither block nor pass\n", lines.Text())
			return 2
		}
		b.Block(what, verb == "block")
		fmt.Fprintln(out, lines.Text())
	}
	return 0
}
